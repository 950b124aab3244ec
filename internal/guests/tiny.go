package guests

import "slices"

// Hello returns a module that writes "hello\n" to standard output and returns:
// the least that a runtime can be asked to do.
func Hello() []byte {
	m := newModule()
	write := m.importFunc(wasi, "fd_write", sig{[]byte{i32, i32, i32, i32}, []byte{i32}})
	m.memory(1)
	// One iovec at 0: the address 8 and the length 6. The count goes to 16.
	m.data(0, []byte{8, 0, 0, 0, 6, 0, 0, 0, 'h', 'e', 'l', 'l', 'o', '\n'})
	m.start(code(constant(1), constant(0), constant(1), constant(16), call(write), drop))
	return m.bytes()
}

// Read returns a module that reads standard input once and returns: it waits
// for as long as there is none.
func Read() []byte {
	m := newModule()
	read := m.importFunc(wasi, "fd_read", sig{[]byte{i32, i32, i32, i32}, []byte{i32}})
	m.memory(1)
	m.data(0, []byte{16, 0, 0, 0, 1, 0, 0, 0}) // one iovec at 0. The count goes to 8.
	m.start(code(constant(0), constant(0), constant(1), constant(8), call(read), drop))
	return m.bytes()
}

// Exit returns a module that calls proc_exit with status.
func Exit(status uint32) []byte {
	m := newModule()
	exit := m.importFunc(wasi, "proc_exit", sig{[]byte{i32}, nil})
	m.memory(1)
	m.start(code(constant(int32(status)), call(exit)))
	return m.bytes()
}

// Trap returns a module whose _start is the instruction unreachable.
func Trap() []byte {
	m := newModule()
	m.memory(1)
	m.start(unreachable)
	return m.bytes()
}

// NoStart returns a valid module that exports a memory but no _start.
func NoStart() []byte {
	m := newModule()
	m.memory(1)
	return m.bytes()
}

// MissingImport returns a module that imports the function env.nope.
func MissingImport() []byte {
	m := newModule()
	m.importFunc("env", "nope", sig{})
	m.memory(1)
	m.start(nil)
	return m.bytes()
}

// WrongSignature returns a module that imports WASI's fd_write as a function
// without parameters and results.
func WrongSignature() []byte {
	m := newModule()
	write := m.importFunc(wasi, "fd_write", sig{})
	m.memory(1)
	m.start(call(write))
	return m.bytes()
}

// Component returns the preamble of a WebAssembly component, which differs
// from a module's in the version and layer.
func Component() []byte {
	return []byte{0, 'a', 's', 'm', 0x0d, 0, 1, 0}
}

// Truncated returns Hello without its last eight bytes.
func Truncated() []byte {
	b := Hello()
	return b[:len(b)-8]
}

// Spin returns a module whose _start loops for ever without calling anything.
func Spin() []byte {
	m := newModule()
	m.memory(1)
	m.start(loop(nil))
	return m.bytes()
}

// SpinInStartSection returns a module that loops for ever in the function of
// its start section: while it is instantiated, before _start is called.
func SpinInStartSection() []byte {
	m := newModule()
	m.memory(1)
	m.section[secStart] = uleb(m.fn(loop(nil)))
	m.start(nil)
	return m.bytes()
}

// HugeMemory returns a module that asks for 65536 pages, 4 GiB, of memory from
// the beginning, and does nothing.
func HugeMemory() []byte {
	m := newModule()
	m.memory(65536)
	m.start(nil)
	return m.bytes()
}

// GrowForever returns a module that grows its memory by 1 MiB and fills what
// it got, for ever. Once it is refused it spins.
func GrowForever() []byte {
	m := newModule()
	m.memory(1)
	m.start(loop(code(
		constant(16), memoryGrow, localTee, constant(-1), i32Ne,
		ifThen(code(localGet, constant(16), i32Shl, constant(1), constant(1<<20), memoryFill)),
	)), i32)
	return m.bytes()
}

// RecurseForever returns a module whose _start calls itself until the stack
// overflows.
func RecurseForever() []byte {
	m := newModule()
	m.memory(1)
	m.start(call(m.nextFn()))
	return m.bytes()
}

const wasi = "wasi_snapshot_preview1"

const i32 = 0x7f

// The sections that are used, in the order of their numbers.
const (
	secType   = 1
	secImport = 2
	secFunc   = 3
	secMemory = 5
	secExport = 7
	secStart  = 8
	secCode   = 10
	secData   = 11
)

// The instructions that are used.
var (
	unreachable = []byte{0x00}
	drop        = []byte{0x1a}
	localGet    = []byte{0x20, 0}
	localTee    = []byte{0x22, 0}
	memoryGrow  = []byte{0x40, 0}
	memoryFill  = []byte{0xfc, 0x0b, 0}
	i32Ne       = []byte{0x47}
	i32Shl      = []byte{0x74}
)

func call(fn uint32) []byte     { return code([]byte{0x10}, uleb(fn)) }
func constant(v int32) []byte   { return code([]byte{0x41}, sleb(v)) }
func ifThen(body []byte) []byte { return code([]byte{0x04, 0x40}, body, []byte{0x0b}) }

// loop repeats body for ever.
func loop(body []byte) []byte {
	return code([]byte{0x03, 0x40}, body, []byte{0x0c, 0, 0x0b})
}

func code(parts ...[]byte) []byte { return slices.Concat(parts...) }

type sig struct{ params, results []byte }

// module collects the entries of a module's sections. Functions are imported
// before any is defined, since imports have the first numbers.
type module struct {
	section [12][]byte
	count   [12]uint32
	imports uint32
}

func newModule() *module { return &module{} }

func (m *module) add(section int, parts ...[]byte) uint32 {
	m.section[section] = append(m.section[section], code(parts...)...)
	m.count[section]++
	return m.count[section] - 1
}

func (m *module) typ(s sig) []byte {
	return uleb(m.add(secType, []byte{0x60}, vec(s.params), vec(s.results)))
}

func (m *module) importFunc(from, name string, s sig) uint32 {
	m.imports++
	return m.add(secImport, vec([]byte(from)), vec([]byte(name)), []byte{0}, m.typ(s))
}

func (m *module) memory(pages uint32) {
	m.add(secMemory, []byte{0}, uleb(pages))
	m.add(secExport, vec([]byte("memory")), []byte{2, 0})
}

func (m *module) data(offset int32, b []byte) {
	m.add(secData, []byte{0}, constant(offset), []byte{0x0b}, vec(b))
}

// nextFn is the number that the next function defined will have.
func (m *module) nextFn() uint32 { return m.imports + m.count[secFunc] }

// fn defines a function without parameters and results, with local variables
// of the types in locals, and returns its number.
func (m *module) fn(body []byte, locals ...byte) uint32 {
	n := m.nextFn()
	m.add(secFunc, m.typ(sig{}))
	decl := uleb(uint32(len(locals)))
	for _, t := range locals {
		decl = append(decl, 1, t)
	}
	m.add(secCode, vec(code(decl, body, []byte{0x0b})))
	return n
}

// start defines and exports the function _start.
func (m *module) start(body []byte, locals ...byte) {
	m.add(secExport, vec([]byte("_start")), []byte{0}, uleb(m.fn(body, locals...)))
}

func (m *module) bytes() []byte {
	out := []byte{0, 'a', 's', 'm', 1, 0, 0, 0}
	for id, entries := range m.section {
		if entries == nil {
			continue
		}
		if id != secStart { // the one section that is not a vector
			entries = code(uleb(m.count[id]), entries)
		}
		out = append(out, byte(id))
		out = append(out, vec(entries)...)
	}
	return out
}

// vec is b with its length before it.
func vec(b []byte) []byte { return code(uleb(uint32(len(b))), b) }

func uleb(v uint32) []byte {
	var b []byte
	for v >= 0x80 {
		b = append(b, byte(v)|0x80)
		v >>= 7
	}
	return append(b, byte(v))
}

func sleb(v int32) []byte {
	var b []byte
	for v < -0x40 || v >= 0x40 {
		b = append(b, byte(v)&0x7f|0x80)
		v >>= 7
	}
	return append(b, byte(v)&0x7f)
}
