package content_test

import (
	"testing"

	"github.com/postonce/poe/internal/content"
)

func TestParts(t *testing.T) {
	multi := "Content-Type: multipart/form-data; boundary=b"
	for name, body := range map[string]string{
		"coded, said twice":   "--b\r\nContent-Disposition: form-data; name=\"a\"\r\nContent-Transfer-Encoding: 7bit\r\nContent-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--\r\n",
		"a name twice":        "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ndecoy\r\n--b\r\nContent-Disposition: form-data; name=\"z\"; name=\"a\"\r\n\r\nreal\r\n--b--\r\n",
		"a disposition twice": "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ndecoy\r\n--b\r\nContent-Disposition: form-data; name=\"z\"\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nreal\r\n--b--\r\n",
		"another disposition": "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ndecoy\r\n--b\r\nContent-Disposition: attachment; name=\"a\"\r\n\r\nreal\r\n--b--\r\n",
		"unquoted junk":       "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\ndecoy\r\n--b\r\nContent-Disposition: form-data; name=a; x y\r\n\r\nreal\r\n--b--\r\n",
	} {
		got, err := content.Read([]content.Place{place(t, "form:a")}, source(body, multi))
		if err == nil {
			t.Errorf("%s: read as %q", name, got)
		}
	}
}

func TestFormCase(t *testing.T) {
	if got, err := content.Read([]content.Place{place(t, "form:email")}, source("email=decoy&Email=real", isForm)); err == nil {
		t.Errorf("read as %q", got)
	}
}
