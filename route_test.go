package poe_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"reflect"
	"testing"
	"time"

	"github.com/postonce/poe"
	core "github.com/postonce/poe/internal/poe"
)

// Whatever a program says of a route reaches the engine, and nothing that the engine can be told is left out.
func TestRouteReachesTheEngine(t *testing.T) {
	refused := errors.New("refused")
	r := poe.Route{
		Name: "name", Match: "match", Doors: []string{"door"}, Require: true, KeyHeaders: []string{"field"}, Compare: []string{"place"},
		ClientID: "id", Repeats: poe.RepeatsRefused, Unique: []string{"key"}, FreeOn: []string{"DELETE"}, TTL: 1, Retention: 2, Consume: poe.ConsumeAny,
		Release: []int{3}, Async: true, RetryFor: 4, Principal: "principal", Authorize: "authorize", Origins: []string{"origin"}, MarkSent: true,
		Recovery: poe.RecoveryCompensate, RecoverFor: 5, Probe: "probe", ProbeFences: true, Compensate: "compensate", Compensated: poe.CompensatedUnused,
		Recover: func(_ context.Context, a poe.Unresolved) (poe.Resolution, error) {
			return poe.Resolution{State: poe.WasDone, Status: a.Attempt, Header: http.Header{"A": {a.ID}}, Body: []byte(a.Method + a.Target)}, refused
		},
	}
	got := r.Core()
	same(t, reflect.ValueOf(r), reflect.ValueOf(got), "Recover")

	when := time.Unix(1, 0)
	asked := core.Unresolved{ID: "id", Method: "POST", Target: "/x", Attempt: 299, Claimed: when, Since: when}
	r.Recover = nil // its program may use it for the next route
	told, err := got.Recover(t.Context(), asked)
	want := core.Resolution{State: core.WasDone, Status: 299, Header: http.Header{"A": {"id"}}, Body: []byte("POST/x")}
	if !errors.Is(err, refused) || !reflect.DeepEqual(told, want) {
		t.Errorf("%+v %v", told, err)
	}
	if (&poe.Route{}).Core().Recover != nil {
		t.Error("a route without a function has one")
	}
}

func TestCallbacksReachTheSender(t *testing.T) {
	c := poe.Callbacks{Allow: []string{"a"}, Secrets: []string{"b"}, DangerouslyInsecure: true, Timeout: 1, Resolver: net.DefaultResolver}
	got := c.Config(time.Now)
	same(t, reflect.ValueOf(c), reflect.ValueOf(got), "Clock")
	if got.Clock == nil {
		t.Error("it has another clock than the gate")
	}
}

// same fails the test unless b has the fields of a, all of which are set and none of which is shared, beside the one that is told apart.
func same(t *testing.T, a, b reflect.Value, but string) {
	t.Helper()
	for i := range b.NumField() {
		name := b.Type().Field(i).Name
		if name == but {
			continue
		}
		f := a.FieldByName(name)
		switch {
		case !f.IsValid():
			t.Errorf("%s cannot be said", name)
		case f.IsZero():
			t.Errorf("%s is not tested", name)
		case !reflect.DeepEqual(f.Convert(b.Field(i).Type()).Interface(), b.Field(i).Interface()):
			t.Errorf("%s: %v became %v", name, f, b.Field(i))
		case f.Kind() == reflect.Slice && f.Pointer() == b.Field(i).Pointer():
			t.Errorf("%s is still its program's", name)
		}
	}
}
