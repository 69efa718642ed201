package replay

// CloseFile closes the file of a body under it, so that tests see what a failing disk does.
func CloseFile(b *Body) error { return b.file.Close() }
