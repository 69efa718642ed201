package serve

import (
	"bytes"
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// MaxConfig bounds the file, in bytes, before anything is parsed.
const MaxConfig = 1 << 20

// later are the words that this version does not have yet. They get an answer of their own, since ignoring one of them would leave somebody
// less protected than the file says.
var later = []string{"forms"}

// A decoder walks the file's nodes beside the struct they fill. The library decodes well, but stops at its first
// mistake; walking the nodes finds them all, and knows where every value stood for the checks that follow.
type decoder struct {
	name  string
	found []finding
	given map[string]origin // by path, e.g. "routes[0].ttl"
}

func newDecoder(name string) *decoder {
	return &decoder{name: name, given: map[string]origin{}}
}

// file decodes the whole text into the struct v. Where it returns false, nothing in v can be relied on, and what it
// lacks is no mistake of its own.
func (d *decoder) file(text []byte, v reflect.Value) bool {
	if len(text) > MaxConfig {
		d.add(d.wholeFile(), "is longer than %d bytes, which a configuration can be at most", MaxConfig)
		return false
	}
	file, err := parseYAML(bytes.TrimPrefix(text, []byte("\ufeff"))) // a byte order mark, which editors put there (YAML 1.2.2, section 5.2)
	if err != nil {
		d.syntax(err)
		return false
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil && doc.Body.Type() != ast.CommentType {
			bodies = append(bodies, doc.Body)
		}
	}
	if len(bodies) == 0 {
		return true
	}
	if len(bodies) > 1 {
		d.add(d.at(bodies[1]), oneDocument)
	}
	m, ok := bodies[0].(ast.MapNode)
	if !ok {
		d.add(d.at(bodies[0]), "%s is here where keys and values are wanted", kindOf(bodies[0]))
		return false
	}
	d.mapping(m, v, "")
	return true
}

const oneDocument = "there is a second document; one file is one configuration"

// afterEmptyDocument returns the --- that follows another with nothing but comments in between; nil: there is none. The parser reads nothing of what comes
// after the two, and says nothing.
func afterEmptyDocument(tokens token.Tokens) *token.Token {
	begun := false
	for _, t := range tokens {
		switch {
		case t.Type == token.DocumentHeaderType && begun:
			return t
		case t.Type != token.CommentType:
			begun = t.Type == token.DocumentHeaderType
		}
	}
	return nil
}

// maxDepth is how many brackets, and dashes of lists in lists, may be open at one place. The parser takes kilobytes for each, and a damaged file could so take
// all memory.
const maxDepth = 100

// tooDeep returns the bracket or dash that is beyond that; nil: there is none.
func tooDeep(tokens token.Tokens) *token.Token {
	brackets := 0
	var dashes []int // the columns of those that are open, each further to the right than the one before
	for _, t := range tokens {
		switch t.Type {
		case token.SequenceStartType, token.MappingStartType:
			brackets++
		case token.SequenceEndType, token.MappingEndType:
			brackets--
		case token.SequenceEntryType:
			for len(dashes) > 0 && dashes[len(dashes)-1] >= t.Position.Column {
				dashes = dashes[:len(dashes)-1]
			}
			dashes = append(dashes, t.Position.Column)
		default:
		}
		if brackets+len(dashes) > maxDepth {
			return t
		}
	}
	return nil
}

// parseYAML keeps the parser's panics, which a damaged file could reach, from ending the process.
// Duplicate keys are let through: the walk reports them together with everything else.
func parseYAML(text []byte) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("it is not YAML (%v)", p)
		}
	}()
	tokens := lexer.Tokenize(string(text))
	if second := afterEmptyDocument(tokens); second != nil {
		return nil, &yaml.SyntaxError{Message: oneDocument, Token: second}
	}
	if deep := tooDeep(tokens); deep != nil {
		return nil, &yaml.SyntaxError{Message: "there are more brackets, or lists, in each other than a configuration has", Token: deep}
	}
	return parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
}

// syntax reports what the parser says.
func (d *decoder) syntax(err error) {
	var y yaml.Error
	if errors.As(err, &y) && y.GetToken() != nil {
		d.add(d.place(y.GetToken()), "%s", y.GetMessage())
		return
	}
	d.add(d.wholeFile(), "%s", err)
}

// mapping decodes a mapping node into the struct v. path is "" or ends with a dot.
func (d *decoder) mapping(m ast.MapNode, v reflect.Value, path string) {
	seen := map[string]origin{}
	for it := m.MapRange(); it.Next(); {
		key, at := it.Key().GetToken().Value, d.at(it.Key())
		if _, plain := it.Key().(*ast.StringNode); !plain {
			d.add(at, "%q is not a plain key", key)
			continue
		}
		if first, twice := seen[key]; twice {
			d.add(at, "%q is here twice; the first is at %s", key, first.place)
			continue
		}
		seen[key] = at
		d.entry(key, it.KeyValue(), slot{within: v, path: path})
	}
}

// A slot is the struct that a mapping fills, and its path.
type slot struct {
	within reflect.Value
	path   string // "" or with a dot at its end
}

// entry decodes one key and its value.
func (d *decoder) entry(key string, kv *ast.MappingValueNode, in slot) {
	field, ok := fieldByKey(in.within, key)
	at := d.at(kv.Key)
	if ok {
		if kv.Value.Type() != ast.NullType { // what is not there has no place of its own
			at = d.at(kv.Value)
		}
		d.given[in.path+key] = at
		d.value(kv.Value, field, in.path+key)
		return
	}
	if slices.Contains(later, key) {
		d.add(at, "%q is not in this version of poe", key)
		return
	}
	if near, found := nearKey(in.within.Type(), key); found {
		d.add(at, "there is no key %q; %q is meant", key, near)
		return
	}
	d.add(at, "there is no key %q", key)
}

// value decodes one node into a field: a list, a list of structs, or a scalar.
func (d *decoder) value(n ast.Node, field reflect.Value, path string) {
	switch field.Kind() {
	case reflect.Slice:
	case reflect.Struct:
		d.item(n, field, path)
		return
	default:
		d.scalar(n, field, path)
		return
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		d.wrong(path, "%s is here where a list is wanted", kindAt(path, n))
		return
	}
	list := reflect.MakeSlice(field.Type(), len(seq.Values), len(seq.Values))
	for i, item := range seq.Values {
		at := fmt.Sprintf("%s[%d]", path, i)
		d.given[at] = d.at(item)
		d.item(item, list.Index(i), at)
	}
	field.Set(list)
}

// item decodes one item of a list: a struct or a scalar.
func (d *decoder) item(n ast.Node, v reflect.Value, path string) {
	if v.Kind() != reflect.Struct {
		d.scalar(n, v, path)
		return
	}
	setUsual(v)
	m, ok := n.(ast.MapNode)
	if !ok {
		d.wrong(path, "%s is here where keys and values are wanted", kindAt(path, n))
		return
	}
	d.mapping(m, v, path+".")
}

// scalar decodes a leaf.
func (d *decoder) scalar(n ast.Node, field reflect.Value, path string) {
	text, ok := textOf(n)
	if !ok {
		d.wrong(path, "%s is here where a value is wanted", kindAt(path, n))
		return
	}
	if err := setText(field, text); err != nil {
		d.wrong(path, "%s", err)
	}
}

// at returns where a node stands.
func (d *decoder) at(n ast.Node) origin {
	switch n := n.(type) { // whose own token is a colon
	case nil:
		return d.wholeFile()
	case *ast.MappingValueNode:
		return d.at(n.Key)
	case *ast.MappingNode:
		if !n.IsFlowStyle && len(n.Values) > 0 {
			return d.at(n.Values[0].Key)
		}
	}
	return d.place(n.GetToken())
}

// place returns where a token stands.
func (d *decoder) place(t *token.Token) origin {
	if t == nil || t.Position == nil {
		return d.wholeFile()
	}
	line, column := t.Position.Line, t.Position.Column
	return origin{place: fmt.Sprintf("%s:%d:%d", d.name, line, column), inFile: true, line: line, column: column}
}

// textOf returns what a scalar says. Anchors, aliases, tags and null have no text: a configuration needs none.
func textOf(n ast.Node) (string, bool) {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	case *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		return n.GetToken().Value, true
	default:
		return "", false
	}
}

// kindOf names what stands in a wrong place.
func kindOf(n ast.Node) string {
	switch n.(type) {
	case *ast.NullNode, nil:
		return "nothing"
	case ast.MapNode:
		return "a mapping"
	case *ast.SequenceNode:
		return "a list"
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode:
		return "an anchor, alias or tag"
	default:
		return fmt.Sprintf("%q", n.GetToken().Value)
	}
}

// kindAt is kindOf without quoting what may be a secret.
func kindAt(path string, n ast.Node) string {
	kind := kindOf(n)
	if strings.HasPrefix(kind, `"`) && strings.HasPrefix(path, "callbacks") {
		return "a text"
	}
	return kind
}

// setText reads text into a field of one of the types that a Config has. The error says what is wanted.
func setText(field reflect.Value, text string) error {
	switch v := field.Addr().Interface().(type) {
	case encoding.TextUnmarshaler:
		return v.UnmarshalText([]byte(text))
	case *string:
		*v = text
	case *bool:
		if text != "true" && text != "false" {
			return fmt.Errorf("%q is neither true nor false", text)
		}
		*v = text == "true"
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is not a whole number", text)
		}
		*v = n
	case *time.Duration:
		n, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is not a time (write 90s, 10m, 720h)", text)
		}
		*v = n
	default:
		return fmt.Errorf("a %s cannot be configured", field.Type())
	}
	return nil
}
