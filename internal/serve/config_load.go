package serve

import (
	"fmt"
	"reflect"
	"strings"
)

// Given is a value that a flag or an environment variable gave.
type Given struct {
	Key   string // the key it sets, as the file would write it: "max_body"
	From  string // "--max-body" or "POE_MAX_BODY"
	Value any    // of the field's type
}

// Source is where a configuration comes from.
type Source struct {
	File  string  // its name, for messages
	Text  []byte  // its content; empty: no file
	Given []Given // what beats the file, weakest first
}

// Load puts a configuration together: what was given, else what the file says, else the defaults.
//
// It reads strictly. Keys that are unknown, doubled or of a later version, values that cannot be read and values that
// make no sense are all reported at once, as Mistakes, each with the place that it came from. No other error is returned.
func Load(src Source) (Config, error) {
	d := newDecoder(src.File)
	c := Defaults()
	if !d.file(src.Text, reflect.ValueOf(&c).Elem()) {
		return Config{}, d.mistakes()
	}
	for _, g := range src.Given {
		d.give(reflect.ValueOf(&c).Elem(), g)
	}
	d.inherit(&c)
	check(&c, d)
	return c, d.mistakes()
}

// Check checks a configuration that was put together by hand. The error is Mistakes.
//
// It is not named Validate because the command's parser calls every method of that name on its flags, before a file is read.
func (c Config) Check() error {
	d := newDecoder("")
	check(&c, d)
	return d.mistakes()
}

// give lays one given value over what the file said, and with it the file's mistakes about that key: whoever
// repairs a setting on the command line need not repair the file first.
func (d *decoder) give(config reflect.Value, g Given) {
	field, ok := fieldByKey(config, g.Key)
	value := reflect.ValueOf(g.Value)
	if !ok || !value.IsValid() || value.Type() != field.Type() {
		panic(fmt.Sprintf("setting %s from %s: a %T does not fit", g.Key, g.From, g.Value))
	}
	field.Set(value)
	d.forget(g.Key)
	d.given[g.Key] = origin{place: g.From}
}

// inherit hands down to each route what it does not say itself.
func (d *decoder) inherit(c *Config) {
	for i := range c.Routes {
		r, path := &c.Routes[i], fmt.Sprintf("routes[%d].", i)
		if !d.has(path + "require") {
			r.Require = c.Require
		}
		if !d.has(path + "ttl") {
			r.TTL = c.TTL
		}
		if !d.has(path + "retention") {
			r.Retention = c.Retention
		}
	}
}

// fieldByKey finds the field of a struct that a key of the file sets.
func fieldByKey(v reflect.Value, key string) (reflect.Value, bool) {
	for i := range v.NumField() {
		if v.Type().Field(i).Tag.Get("yaml") == key {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// nearKey guesses the key that was meant: the one that differs in case, hyphens or underscores only.
func nearKey(t reflect.Type, key string) (string, bool) {
	plain := func(s string) string { return strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(s)) }
	for i := range t.NumField() {
		if known := t.Field(i).Tag.Get("yaml"); plain(known) == plain(key) {
			return known, true
		}
	}
	return "", false
}
