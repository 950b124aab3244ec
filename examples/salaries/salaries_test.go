package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the golden file anew")

func TestGolden(t *testing.T) {
	in, err := os.Open("testdata/salaries.csv")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = in.Close() }()
	var out bytes.Buffer
	if err := run(in, &out); err != nil {
		t.Fatal(err)
	}
	const golden = "testdata/salaries.golden"
	if *update {
		if err := os.WriteFile(golden, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if out.String() != string(want) {
		t.Errorf("printed\n%swant\n%s", &out, want)
	}
}

// list makes a list with so many people of each department: "a=5 b=3".
func list(departments string) string {
	var b strings.Builder
	b.WriteString("name,department,salary\n")
	person := 0
	for f := range strings.FieldsSeq(departments) {
		department, count, _ := strings.Cut(f, "=")
		var n int
		fmt.Sscan(count, &n)
		for range n {
			person++
			fmt.Fprintf(&b, "p%d,%s,%d\n", person, department, 10_000*person)
		}
	}
	return b.String()
}

func TestRun(t *testing.T) {
	for _, test := range []struct {
		name, in string
		out      []string // the rows after the first, fields separated by one space
		err      string
	}{
		{name: "one of five", in: list("a=5"), out: []string{"5 30000 - - - a", "5 30000 - - - (all)"}},
		{name: "too few", in: list("a=4"), err: "fewer than 5 people: nothing can be printed without giving salaries away"},
		{name: "nobody", in: list(""), err: "fewer than 5 people: nothing can be printed without giving salaries away"},
		{name: "small ones merged", in: list("a=5 b=3 c=2"), out: []string{"5 30000 - - - a", "5 80000 - - - (others)", "10 55000 - 55000 - (all)"}},
		{name: "only small ones", in: list("a=3 b=3"), out: []string{"6 35000 - - - (others)", "6 35000 - - - (all)"}},
		{name: "one left over", in: list("a=6 b=5 c=1"), out: []string{"6 35000 - - - a", "6 95000 - - - (others)", "12 65000 - 65000 - (all)"}},
		{name: "left over and one other", in: list("a=9 b=1"), out: []string{"10 55000 - 55000 - (others)", "10 55000 - 55000 - (all)"}},
		{name: "quartiles from 20", in: list("a=20"), out: []string{"20 105000 58000 105000 153000 a", "20 105000 58000 105000 153000 (all)"}},
		{name: "no quartiles below 20", in: list("a=19"), out: []string{"19 100000 - 100000 - a", "19 100000 - 100000 - (all)"}},
		{
			name: "other columns, order, spaces, quotes, CRLF, byte order mark",
			in:   "\ufeffSalary, Department ,id,NAME\r\n1000.5,a b,1,\"x, y\"\r\n1000,a b,2,b\r\n 1000,a b,3,c\r\n1000,a b,4,d\r\n\r\n1000.49,a b,5,e",
			out:  []string{"5 1000 - - - a b", "5 1000 - - - (all)"},
		},

		{name: "empty", in: "", err: "empty input: expected a header with the columns name, department, salary"},
		{name: "no header", in: "Ada,Sales,71230\n", err: "line 1: no column is called name: expected a header with name, department and salary, separated by commas"},
		{name: "semicolons", in: "name;department;salary\n", err: "line 1: no column is called name: expected a header with name, department and salary, separated by commas"},
		{name: "a column twice", in: "name,salary,department,Salary\n", err: "line 1: two columns are called salary"},
		{name: "field missing", in: list("a=5") + "Ada,71230\n", err: "line 7: wrong number of fields"},
		{name: "quote", in: list("a=5") + "Ada \"A\",a,71230\n", err: `line 7: bare " in non-quoted-field`},
		{name: "name empty", in: list("a=5") + " ,a,71230\n", err: "line 7: the name is empty"},
		{name: "name twice", in: list("a=5") + "p2,a,71230\n", err: "line 7: the same name as on line 3: expected one row for each person, with different names"},
		{name: "department empty", in: list("a=5") + "Ada,,71230\n", err: errDepartment},
		{name: "department reserved", in: list("a=5") + "Ada,(all),71230\n", err: errDepartment},
		{name: "department that moves the cursor", in: list("a=5") + "Ada,a\x1b[2J,71230\n", err: errDepartment},
		{name: "department not UTF-8", in: list("a=5") + "Ada,a\xff,71230\n", err: errDepartment},
		{name: "department long", in: list("a=5") + "Ada," + strings.Repeat("a", 65) + ",71230\n", err: errDepartment},
		{name: "line after a field of two", in: "name,department,salary\n\"Ada\nA\",a,71230\nBen,a,x\n", err: strings.Replace(errSalary, "7", "4", 1)},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			err := run(strings.NewReader(test.in), &out)
			if got := fmt.Sprint(err); test.err != "" && got != test.err || test.err == "" && err != nil {
				t.Fatalf("error %q, want %q", got, test.err)
			}
			if err != nil && out.Len() > 0 {
				t.Errorf("printed before the error: %s", &out)
			}
			var rows []string
			for line := range strings.Lines(out.String()) {
				rows = append(rows, strings.Join(strings.Fields(line), " "))
			}
			if got := strings.Join(rows[min(1, len(rows)):], "\n"); got != strings.Join(test.out, "\n") {
				t.Errorf("printed\n%s\nwant\n%s", got, strings.Join(test.out, "\n"))
			}
		})
	}
}

const (
	errDepartment = "line 7: department: expected 1 to 64 bytes of printable text that do not begin with a parenthesis"
	errSalary     = "line 7: salary: expected a number from 0 to 1000000000 such as 52000 or 52000.50, without currency or thousands separator"
)

func TestSalary(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "1": 100, "52000": 5200000, "52000.5": 5200050, "52000.05": 5200005, "1000000000": 100000000000} {
		if got, ok := parseSalary(in); !ok || got != want {
			t.Errorf("%q: %d, %v, want %d", in, got, ok, want)
		}
	}
	for _, in := range []string{"", "-1", "+1", "1e5", "1,000", "1.", ".5", "1.234", "NaN", "0x10", "1_000", "€1", "1 000", "1000000000.01", "99999999999", "٣", "1.-1"} {
		if _, ok := parseSalary(in); ok {
			t.Errorf("%q was accepted", in)
		}
		err := run(strings.NewReader(list("a=5")+"Ada,a,\""+in+"\"\n"), &bytes.Buffer{})
		if err == nil || err.Error() != errSalary {
			t.Errorf("%q: error %v, want %q", in, err, errSalary)
		}
	}
}

// TestNothingIsGivenAway tries many small lists: whatever is printed, and
// every difference of two things printed, stands for nobody or at least five.
func TestNothingIsGivenAway(t *testing.T) {
	var sizes [4]int
	for i := range 9 * 9 * 9 * 9 {
		var departments []group
		for d := range sizes {
			sizes[d] = i % 9
			i /= 9
			if sizes[d] > 0 {
				departments = append(departments, group{fmt.Sprint(d), make([]int64, sizes[d])})
			}
		}
		groups := protect(departments)
		if len(groups) == 0 {
			continue
		}
		left := len(groups[len(groups)-1].salaries)
		for _, g := range groups[:len(groups)-1] {
			if len(g.salaries) < smallest {
				t.Fatalf("%v: %s has %d people", sizes, g.name, len(g.salaries))
			}
			left -= len(g.salaries)
		}
		if left != 0 {
			t.Fatalf("%v: %d people are in (all) only", sizes, left)
		}
	}
}
