package pebblestore_test

import "syscall"

func mount(at string) error {
	return syscall.Mount("tmpfs", at, "tmpfs", 0, "size=64m")
}

func unmount(at string) error { return syscall.Unmount(at, 0) }
