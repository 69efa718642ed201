package main

import (
	"os"
	"runtime"
	"testing"
)

func TestTuneRuntime(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(2))
	t.Setenv("GOMAXPROCS", "2")
	if tuneRuntime(); runtime.GOMAXPROCS(0) != 2 {
		t.Errorf("the environment says 2, and there are %d", runtime.GOMAXPROCS(0))
	}
	if err := os.Unsetenv("GOMAXPROCS"); err != nil { // t puts it back
		t.Fatal(err)
	}
	if tuneRuntime(); runtime.GOMAXPROCS(0) != 3 {
		t.Errorf("%d processors where there are 2", runtime.GOMAXPROCS(0))
	}
}
