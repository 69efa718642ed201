package main

import (
	"bytes"
	"fmt"
	"io"
	"mime/multipart"
	"os"
)

// A form is one that is sent as multipart/form-data (RFC 7578). Its first error sticks.
type form struct {
	body   bytes.Buffer
	writer *multipart.Writer
	err    error
}

func newForm() *form {
	f := &form{}
	f.writer = multipart.NewWriter(&f.body)
	return f
}

// set adds a field.
func (f *form) set(name, value string) {
	if f.err == nil {
		f.err = f.writer.WriteField(name, value)
	}
}

// file adds the content of a file, or of in where path is "-".
func (f *form) file(name, path string, in io.Reader) error {
	if path != "-" {
		file, err := os.Open(path) //nolint:gosec // the operator names it
		if err != nil {
			return fmt.Errorf("opening the %s: %w", name, err)
		}
		defer func() { _ = file.Close() }() // read only
		in = file
	}
	part, err := f.writer.CreateFormFile(name, name)
	if err == nil {
		_, err = io.Copy(part, in)
	}
	if err != nil {
		return fmt.Errorf("reading the %s: %w", name, err)
	}
	return nil
}

// encode returns the form and its type.
func (f *form) encode() (body io.Reader, contentType string, err error) {
	if f.err == nil {
		f.err = f.writer.Close()
	}
	if f.err != nil {
		return nil, "", fmt.Errorf("writing a form: %w", f.err)
	}
	return &f.body, f.writer.FormDataContentType(), nil
}
