package replay_test

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestResolve(t *testing.T) {
	tests := []struct{ field, value, want string }{
		{"Location", "42", "/shop/42"},
		{"Location", "../42?a=b#c", "/42?a=b#c"},
		{"Location", "?page=2", "/shop/orders?page=2"},
		{"Location", "#top", "/shop/orders?x=1#top"},
		{"Location", "/a/../b/%7e", "/a/../b/%7e"},
		{"Location", "//other.example/x", "//other.example/x"},
		{"Location", "https://other.example/%7e", "https://other.example/%7e"},
		{"Location", "mailto:a@b.example", "mailto:a@b.example"},
		{"Location", "%zz", "%zz"},
		{"Location", "https://other.example/a/../b", "https://other.example/a/../b"},
		{"Content-Location", "42", "/shop/42"},
		{"Link", `<42>; rel="item"`, `</shop/42>; rel="item"`},
		{"Link", `<a>; title="<b>, \"<c>", <d>;rel=x`, `</shop/a>; title="<b>, \"<c>", </shop/d>;rel=x`},
		{"Link", `<https://a.example/>; rel=x, </b>; rel=y`, `<https://a.example/>; rel=x, </b>; rel=y`},
		{"Link", `<>; rel=self`, `</shop/orders?x=1>; rel=self`},
		{"Link", `<no end`, `<no end`},
		{"Link", `<a>; title="\`, `</shop/a>; title="\`},
		{"Link", `<a>; x=\, <b>`, `</shop/a>; x=\, </shop/b>`},
		{"Link", `<a>; x=\"<b>"`, `</shop/a>; x=\"<b>"`},
		{"Link", `</i>; rel=item; anchor="1"; title="; anchor=1"`, `</i>; rel=item; anchor="/shop/1"; title="; anchor=1"`},
		{"Link", `</i>;ANCHOR = "#part\"1\\",</j>;anchor=2;rel=x, </k>; anchor="";rel=y`, `</i>;ANCHOR = "/shop/orders?x=1#part%221%5C",</j>;anchor="/shop/2";rel=x, </k>; anchor="/shop/orders?x=1";rel=y`},
		{"Link", `</i>; anchor="/a\"b"; rel=x, </j>; anchor=https://a.example/;rel=y`, `</i>; anchor="/a\"b"; rel=x, </j>; anchor=https://a.example/;rel=y`},
		{"Link", `</i>; anchors=1; x-anchor=1; anchor*=UTF-8''1; anchor`, `</i>; anchors=1; x-anchor=1; anchor*=UTF-8''1; anchor`},
		{"Link", `</i>; anchor="no end`, `</i>; anchor="no end`},
		{"Link", `</i>; anchor="no end\`, `</i>; anchor="no end\`},
		{"Link", `</i>; rel=x; anchor=1`, `</i>; rel=x; anchor="/shop/1"`},
		{"Link", `</i>; anchor=; rel=x`, `</i>; anchor="/shop/orders?x=1"; rel=x`},
		{"Refresh", "0; url=thanks?a=b", "0; url=/shop/thanks?a=b"},
		{"Refresh", `1.5 , URL = "thanks"; x`, `1.5 , URL = "/shop/thanks"; x`},
		{"Refresh", "3;'../thanks'", "3;'/thanks'"},
		{"Refresh", "3 thanks", "3 /shop/thanks"},
		{"Refresh", "0; url=#top", "0; url=/shop/orders?x=1#top"},
		{"Refresh", "0; url=/thanks", "0; url=/thanks"},
		{"Refresh", "0; url=https://a.example/%7e", "0; url=https://a.example/%7e"},
		{"Refresh", `5; url=""`, `5; url=""`},
		{"Refresh", "5; url=", "5; url="},
		{"Refresh", "5", "5"},
		{"Refresh", "soon; url=thanks", "soon; url=thanks"},
		{"X-Other", "42", "42"},
	}
	for _, tt := range tests {
		t.Run(tt.field+" "+tt.value, func(t *testing.T) {
			got := repeated(t, protocols[0], request(http.MethodGet), stored(200, http.Header{tt.field: {tt.value, "/second"}}, nil), nil)
			if diff := cmp.Diff([]string{tt.want, "/second"}, got.Header[tt.field]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// What is below a target that looks like another host's is not led there; and a target that is no reference at all leads nowhere.
func TestResolveBelowOddTargets(t *testing.T) {
	for _, tt := range []struct{ target, value, want string }{
		{"//a.example/orders", "42", "/.//a.example/42"},
		{"//a.example/orders", "?x=1", "/.//a.example/orders?x=1"},
		{"http://a.example//orders", "42", "http://a.example//42"},
		{"/%zz", "42", "42"},
		{"", "42", "42"},
	} {
		s := stored(200, http.Header{"Location": {tt.value}}, nil)
		s.Target = tt.target
		if got := repeated(t, protocols[0], request(http.MethodGet), s, nil).Header.Get("Location"); got != tt.want {
			t.Errorf("%s below %q is repeated as %s, want %s", tt.value, tt.target, got, tt.want)
		}
	}
}

// An apostrophe in the target does not end the address that a browser is led to.
func TestRefreshBelowAnApostrophe(t *testing.T) {
	for value, want := range map[string]string{
		"0; url='paid'":   "0; url='/Orders(%27a%27)/paid'",
		`0; url="paid"`:   `0; url="/Orders('a')/paid"`,
		"0; url=paid":     "0; url=/Orders('a')/paid",
		"0; url='paid":    "0; url='/Orders(%27a%27)/paid",
		"0; url='/paid'x": "0; url='/paid'x",
	} {
		s := stored(200, http.Header{"Refresh": {value}}, nil)
		s.Target = "/Orders('a')/payment"
		if got := repeated(t, protocols[0], request(http.MethodGet), s, nil).Header.Get("Refresh"); got != want {
			t.Errorf("%s is repeated as %s, want %s", value, got, want)
		}
	}
}
