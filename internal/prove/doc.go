// Package prove breaks the program in every way that is known to us, and looks afterwards for what it had promised: docs/reliability.md
// says how. It has tests only; make prove runs the whole of them, make test a short form.
package prove
