//go:build !linux

package timerslack

// Raise does nothing: this system knows no such thing.
func Raise() {}
