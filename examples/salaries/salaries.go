package main

import (
	"bufio"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"unicode"
	"unicode/utf8"
)

// smallest is the fewest people that a printed number may stand for. A number
// that cuts a group in parts, as a median does, needs as many in each part.
const smallest = 5

// step is what amounts are rounded to, so that no salary is printed as it is.
const step = 1000

// Groups that no department may be called. Departments must not begin with
// the parenthesis.
const (
	everybody = "(all)"
	others    = "(others)"
)

const (
	maxSalary     = 1_000_000_000
	maxDepartment = 64 // bytes
)

// group is the people that one line of the output stands for.
type group struct {
	name     string
	salaries []int64 // in hundredths
}

func run(r io.Reader, w io.Writer) error {
	departments, err := read(r)
	if err != nil {
		return err
	}
	groups := protect(departments)
	if len(groups) == 0 {
		return fmt.Errorf("fewer than %d people: nothing can be printed without giving salaries away", smallest)
	}
	return write(w, groups)
}

// read returns the departments in the order of their names. Its errors name
// the line and what was expected there, never what was found.
func read(r io.Reader) ([]group, error) {
	in := bufio.NewReader(r)
	if bom, err := in.Peek(3); err == nil && string(bom) == "\ufeff" {
		_, _ = in.Discard(3) // what was peeked at is there
	}
	c := csv.NewReader(in)
	c.ReuseRecord = true

	record, err := c.Read()
	if errors.Is(err, io.EOF) {
		return nil, errors.New("empty input: expected a header with the columns name, department, salary")
	} else if err != nil {
		return nil, csvError(err)
	}
	var column [3]int
	for i, want := range []string{"name", "department", "salary"} {
		column[i] = -1
		for j, field := range record {
			if strings.EqualFold(strings.TrimSpace(field), want) {
				if column[i] >= 0 {
					return nil, fmt.Errorf("line 1: two columns are called %s", want)
				}
				column[i] = j
			}
		}
		if column[i] < 0 {
			return nil, fmt.Errorf("line 1: no column is called %s: expected a header with name, department and salary, separated by commas", want)
		}
	}

	lineOf := map[string]int{}
	departments := map[string][]int64{}
	for {
		record, err := c.Read()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, csvError(err)
		}
		line, _ := c.FieldPos(0)
		name := strings.TrimSpace(record[column[0]])
		department := strings.TrimSpace(record[column[1]])
		salary, ok := parseSalary(strings.TrimSpace(record[column[2]]))
		switch {
		case name == "":
			return nil, fmt.Errorf("line %d: the name is empty", line)
		case lineOf[name] != 0:
			// One person with many rows would count as many people.
			return nil, fmt.Errorf("line %d: the same name as on line %d: expected one row for each person, with different names", line, lineOf[name])
		case !validDepartment(department):
			return nil, fmt.Errorf("line %d: department: expected 1 to %d bytes of printable text that do not begin with a parenthesis", line, maxDepartment)
		case !ok:
			return nil, fmt.Errorf("line %d: salary: expected a number from 0 to %d such as 52000 or 52000.50, without currency or thousands separator", line, maxSalary)
		}
		lineOf[strings.Clone(name)] = line
		department = strings.Clone(department)
		departments[department] = append(departments[department], salary)
	}

	var groups []group
	for name, salaries := range departments {
		groups = append(groups, group{name, salaries})
	}
	slices.SortFunc(groups, func(a, b group) int { return strings.Compare(a.name, b.name) })
	return groups, nil
}

// csvError is err without any text of the input.
func csvError(err error) error {
	var parse *csv.ParseError
	if errors.As(err, &parse) {
		return fmt.Errorf("line %d: %w", parse.Line, parse.Err)
	}
	return fmt.Errorf("standard input: %w", err)
}

func validDepartment(s string) bool {
	return s != "" && len(s) <= maxDepartment && s[0] != '(' && utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) })
}

// parseSalary reads digits with at most two decimals, as hundredths.
func parseSalary(s string) (int64, bool) {
	whole, fraction, point := strings.Cut(s, ".")
	if point && fraction == "" || len(fraction) > 2 || len(whole) > len("1000000000") {
		return 0, false
	}
	digits := whole + (fraction + "00")[:2]
	if whole == "" || strings.Trim(digits, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	return n, err == nil && n <= maxSalary*100
}

// protect merges the departments that are too small into one group, puts the
// whole at the end, and returns nothing if the whole is too small.
//
// If what was merged is itself too small, the smallest remaining department
// goes in too: otherwise the difference between the whole and the departments
// printed would give away the few that were not.
func protect(departments []group) []group {
	all := group{name: everybody}
	rest := group{name: others}
	var kept []group
	for _, d := range departments {
		all.salaries = append(all.salaries, d.salaries...)
		if len(d.salaries) < smallest {
			rest.salaries = append(rest.salaries, d.salaries...)
		} else {
			kept = append(kept, d)
		}
	}
	if len(all.salaries) < smallest {
		return nil
	}
	if n := len(rest.salaries); n > 0 && n < smallest {
		i := 0
		for j := range kept {
			if len(kept[j].salaries) < len(kept[i].salaries) {
				i = j
			}
		}
		rest.salaries = append(rest.salaries, kept[i].salaries...)
		kept = slices.Delete(kept, i, i+1)
	}
	if len(rest.salaries) > 0 {
		kept = append(kept, rest)
	}
	return append(kept, all)
}

func write(w io.Writer, groups []group) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "people\tmean\tlower quartile\tmedian\tupper quartile\t  department")
	for _, g := range groups {
		s := slices.Sorted(slices.Values(g.salaries))
		n := len(s)
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t  %s\n", n, mean(s),
			quantile(s, 1, 4), quantile(s, 1, 2), quantile(s, 3, 4), g.name)
	}
	return t.Flush()
}

func mean(s []int64) string {
	var sum float64 // exact to far more than step
	for _, v := range s {
		sum += float64(v)
	}
	return round(sum / float64(len(s)))
}

// quantile interpolates between the two nearest salaries of the sorted s. It
// is a dash if a part of the group that it cuts off is too small.
func quantile(s []int64, num, den int) string {
	if len(s) < smallest*den {
		return "-"
	}
	at := (len(s) - 1) * num
	low, high := s[at/den], s[min(at/den+1, len(s)-1)]
	return round(float64(low) + float64(high-low)*float64(at%den)/float64(den))
}

// round writes hundredths as a whole number of steps.
func round(hundredths float64) string {
	return strconv.FormatInt(int64(math.Round(hundredths/100/step))*step, 10)
}
