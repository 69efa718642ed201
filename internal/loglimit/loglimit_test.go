package loglimit_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/postonce/poe/internal/loglimit"
)

func TestLimit(t *testing.T) {
	const first, once, thrice = `{"n":0}` + "\n", `{"left_out":1,"n":0}` + "\n", `{"left_out":3,"n":0}` + "\n"
	for name, c := range map[string]struct {
		times []time.Duration // when there is something to say
		want  string
	}{
		"the first is written":                      {[]time.Duration{0}, first},
		"what follows within a minute is counted":   {[]time.Duration{0, 1, 2, time.Minute - 1, time.Minute}, first + thrice},
		"a minute begins with what is written":      {[]time.Duration{0, 1, time.Minute, 2*time.Minute - 1, 2 * time.Minute}, first + once + once},
		"none was left out":                         {[]time.Duration{0, time.Minute, 2 * time.Minute}, first + first + first},
		"a clock that was ahead and is set back":    {[]time.Duration{time.Hour, 0, 1, time.Minute}, first + first + once},
		"a clock that is set back by a little only": {[]time.Duration{time.Minute, 1, 2 * time.Minute}, first + once},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			var line loglimit.Line
			log := zerolog.New(&b)
			for _, at := range c.times {
				line.Limit(log.Log(), time.Unix(1e9, 0).Add(at)).Int("n", 0).Send()
			}
			if diff := cmp.Diff(c.want, b.String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}
