package core

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"github.com/gorilla/mux"
)

// A pattern is the path of a Route.Match, ready to match. It is a literal where it has no template and is not every path.
type pattern struct {
	text     string
	every    bool
	template *mux.Route
}

// CheckPath tells what is wrong with the path of a Route.Match; nil: nothing.
func CheckPath(text string) error {
	_, err := parsePattern(text)
	return err
}

// variableName is what a variable of a template may be called. It keeps out what other routers write in braces.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_-]*$`)

// escape is an octet in percent-encoding.
var escape = regexp.MustCompile(`%[0-9A-Fa-f]{2}`)

// parsePattern reads the path of a route. What can match no path, and what means something in another router's notation, is refused: it would leave
// unguarded, without a word, what it is there to guard.
func parsePattern(text string) (pattern, error) {
	p := pattern{text: text, every: text == "*"}
	if p.every {
		return p, nil
	}
	if !strings.HasPrefix(text, "/") {
		return p, errors.New("the path must begin with a slash")
	}
	if strings.ContainsFunc(text, unseen) {
		return p, errors.New("it has a character that nobody sees, and is another path than it looks like")
	}
	if strings.ContainsAny(text, "{}") {
		var err error
		if p.template, err = parseTemplate(text); err != nil {
			return p, err
		}
	}
	if err := checkVariables(p.template); err != nil {
		return p, err
	}
	if anchored(text) {
		return p, errors.New("the expression of a variable is about all of it: ^ and $ match nothing there")
	}
	return p, checkLiteral(withoutExpressions(text))
}

// unseen tells whether a character has no look of its own, such as a zero width space that came with a copy from a page.
func unseen(r rune) bool { return !unicode.IsPrint(r) }

// parseTemplate reads a path with variables. It is read as it was written first: an expression that is empty, or closes a group that it has not opened, would be
// one within overLines. gorilla/mux panics at a group that captures.
func parseTemplate(text string) (template *mux.Route, err error) {
	defer func() {
		if p := recover(); p != nil {
			template, err = nil, fmt.Errorf("%v", p)
		}
	}()
	if err := mux.NewRouter().NewRoute().Path(text).GetError(); err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "mux: "))
	}
	template = mux.NewRouter().SkipClean(true).NewRoute().Path(overLines(text))
	return template, template.GetError()
}

// overLines has the expressions of a template match line breaks as any other character: a path may have them, and .* stands for all that follows.
func overLines(text string) string {
	var out strings.Builder
	depth, expression := 0, false
	for _, c := range text {
		switch {
		case c == '{':
			depth++
		case c == '}':
			depth--
			if depth == 0 && expression {
				expression = false
				out.WriteByte(')')
			}
		case c == ':' && depth == 1 && !expression:
			expression = true
			out.WriteString(":(?s:")
			continue
		}
		out.WriteRune(c)
	}
	return out.String()
}

// checkVariables wants names that are names.
func checkVariables(template *mux.Route) error {
	if template == nil {
		return nil
	}
	names, err := template.GetVarNames()
	if err != nil {
		return err
	}
	for _, name := range names {
		bare, rest := strings.CutSuffix(name, "...")
		switch {
		case name == "$":
			return errors.New("{$} is not needed: a path without it matches as a whole")
		case rest && variableName.MatchString(bare):
			return fmt.Errorf("{%s} is not known here: for all that follows write {%s:.*}", name, bare)
		case !variableName.MatchString(name):
			return fmt.Errorf("variable %q must be of letters, digits, - and _", name)
		}
	}
	return nil
}

// checkLiteral looks at what is outside of the braces. It is compared with paths that are decoded and cleaned.
func checkLiteral(text string) error {
	switch {
	case strings.ContainsAny(text, "?#"):
		return errors.New("a route is about a path, without a query or a fragment")
	case strings.Contains(text, "*"):
		return errors.New("an asterisk stands for nothing in a path: for all that follows write {path:.*}")
	case strings.Contains(text, "/:"), strings.ContainsAny(text, "<>"):
		return errors.New("a variable is written in braces, such as {id}")
	case strings.Contains(text, ", /"), strings.ContainsAny(text, `\`):
		return errors.New("it is one path, and outside of braces no expression: another path is another route")
	case escape.MatchString(text):
		decoded, err := url.PathUnescape(text)
		if err != nil {
			return err
		}
		return fmt.Errorf("it is compared with decoded paths: write %q", decoded)
	case cleanPath(text) != text:
		return fmt.Errorf("it is compared with paths without // and dot segments: write %q", cleanPath(text))
	}
	return nil
}

// withoutExpressions leaves nothing of a variable but its name: what its expression holds is no part of the path.
func withoutExpressions(text string) string {
	var out strings.Builder
	depth, named := 0, true
	for _, c := range text {
		switch c {
		case '{':
			depth++
			named = named && depth == 1
		case '}':
			depth--
			named = depth == 0
		case ':':
			named = named && depth == 0 // its expression begins
		}
		if named {
			out.WriteRune(c)
		}
	}
	return out.String()
}

// anchored tells whether the expression of a variable has an anchor, other than in a class or as a character.
func anchored(text string) bool {
	depth, expression, class, escaped := 0, false, false, false
	for _, c := range text {
		switch {
		case escaped:
			escaped = false
		case c == '\\':
			escaped = expression
		case class:
			class = c != ']'
		case expression && c == '[':
			class = true
		case c == '{':
			depth++
		case c == '}':
			depth--
			expression = expression && depth > 0
		case c == ':' && depth == 1:
			expression = true
		case expression && (c == '^' || c == '$'):
			return true
		}
	}
	return false
}

// at tells whether the path, decoded and cleaned, is one of the pattern's.
func (p *pattern) at(cleaned string) bool {
	switch {
	case p.every:
		return true
	case p.template == nil:
		return p.text == cleaned
	default:
		return p.template.Match(&http.Request{Method: http.MethodPost, URL: &url.URL{Path: cleaned}}, &mux.RouteMatch{})
	}
}

// covers tells whether every path of q is surely one of p's.
func (p *pattern) covers(q *pattern) bool {
	return p.every || p.text == q.text || q.template == nil && !q.every && p.at(q.text)
}

// vars returns the variables that the template finds in a path.
func (p *pattern) vars(cleaned string) map[string]string {
	var m mux.RouteMatch
	if p.template != nil {
		p.template.Match(&http.Request{Method: http.MethodPost, URL: &url.URL{Path: cleaned}}, &m)
	}
	return m.Vars
}

// hasVariable tells whether the template has a variable of that name.
func (p *pattern) hasVariable(name string) bool {
	if p.template == nil {
		return false
	}
	names, err := p.template.GetVarNames()
	return err == nil && slices.Contains(names, name)
}
