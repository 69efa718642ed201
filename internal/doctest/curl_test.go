package doctest_test

import (
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// curl stands in for the program of that name, so that the tests need nothing but Go. It knows the flags that the pages
// use, one at a time, and does with them what the program does.
func curl(args []string) int {
	if err := runCurl(os.Stdout, args); err != nil {
		fmt.Fprintln(os.Stderr, "curl:", err)
		return 1
	}
	return 0
}

func runCurl(out io.Writer, args []string) error {
	var method, address, body, output, format string
	var include bool
	header := http.Header{}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		value := func() (v string) {
			if len(args) > 0 {
				v, args = args[0], args[1:]
			}
			return v
		}
		switch arg {
		case "-s":
		case "-i":
			include = true
		case "-d":
			body = value()
			header.Set("Content-Type", "application/x-www-form-urlencoded")
			if method == "" {
				method = http.MethodPost
			}
		case "-H":
			name, v, _ := strings.Cut(value(), ":")
			header.Set(name, strings.TrimSpace(v))
		case "-u":
			header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(value())))
		case "-X":
			method = value()
		case "-o":
			output = value()
		case "-w":
			format = value()
		default:
			if strings.HasPrefix(arg, "-") {
				return fmt.Errorf("this stand-in does not know %s", arg)
			}
			address = arg
		}
	}
	req, err := http.NewRequest(method, address, strings.NewReader(body)) //nolint:noctx // it ends with its process
	if err != nil {
		return err
	}
	req.Header = header
	res, err := http.DefaultTransport.RoundTrip(req) // follows nothing
	if err != nil {
		return err
	}
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if output == "" && include {
		if _, err := fmt.Fprintf(out, "%s %s\r\n", res.Proto, res.Status); err != nil {
			return err
		}
		if err := res.Header.Write(out); err != nil {
			return err
		}
		if _, err := io.WriteString(out, "\r\n"); err != nil {
			return err
		}
	}
	if output != "" {
		text = nil // the pages send it to /dev/null
	}
	end := strings.NewReplacer("%{http_code}", fmt.Sprint(res.StatusCode), `\n`, "\n").Replace(format)
	_, err = fmt.Fprintf(out, "%s%s", text, end)
	return err
}
