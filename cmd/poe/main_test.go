package main

import (
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"poe": main})
}

// TestScripts runs the real command: each script in testdata is a session at a terminal. Beside the usual
// commands a script has those of script_test.go.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireUniqueNames:  true,
		RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Values[processesKey{}] = map[string]*process{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"start": start, "code": code, "say": say, "end": end, "finish": finish,
			"http": exchange, "await": await, "set": set, "shop": openShop, "empty": empty, "occupy": occupy,
		},
	})
}
