package store_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/uuid"
	"pgregory.net/rapid"

	"github.com/postonce/poe/internal/store"
)

var noon = time.Date(2031, 3, 14, 12, 0, 0, 0, time.UTC)

func TestNewID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ms := rapid.Int64Range(0, 1<<48-1).Draw(t, "ms")
		days := rapid.IntRange(0, store.MaxDays).Draw(t, "days")
		random := rapid.SliceOfN(rapid.Byte(), 8, 8).Draw(t, "random")
		id, err := store.NewID(time.UnixMilli(ms), days, bytes.NewReader(random))
		if err != nil {
			t.Fatal(err)
		}
		if u := uuid.UUID(id); u.Version() != 7 || u.Variant() != uuid.RFC4122 {
			t.Errorf("%s is of version %d, variant %s", id, u.Version(), u.Variant())
		}
		if id.Minted().UnixMilli() != ms || id.Days() != days {
			t.Errorf("%s says %d ms and %d days, want %d and %d", id, id.Minted().UnixMilli(), id.Days(), ms, days)
		}
		if back, err := store.ParseID(id.String()); err != nil || back != id {
			t.Errorf("%s reads back as %s, %v", id, back, err)
		}
		if id[8]&0x3f != random[0]&0x3f || !bytes.Equal(id[9:], random[1:]) {
			t.Errorf("%s does not carry all of the randomness %x", id, random)
		}
	})
}

func TestNewIDFails(t *testing.T) {
	random := strings.NewReader(strings.Repeat("r", 1000))
	for name, try := range map[string]func() (store.ID, error){
		"too many days":         func() (store.ID, error) { return store.NewID(noon, store.MaxDays+1, random) },
		"days below zero":       func() (store.ID, error) { return store.NewID(noon, -1, random) },
		"before 1970":           func() (store.ID, error) { return store.NewID(time.UnixMilli(-1), 1, random) },
		"after 48 bits":         func() (store.ID, error) { return store.NewID(time.UnixMilli(1<<48), 1, random) },
		"no randomness":         func() (store.ID, error) { return store.NewID(noon, 1, strings.NewReader("short")) },
		"randomness that fails": func() (store.ID, error) { return store.NewID(noon, 1, iotest.ErrReader(errors.New("none left"))) },
	} {
		t.Run(name, func(t *testing.T) {
			if id, err := try(); err == nil || !id.IsZero() {
				t.Errorf("got %s, %v", id, err)
			}
		})
	}
}

func TestParseID(t *testing.T) {
	const good = "0195955b-6000-7abc-8def-0123456789ab"
	id, err := store.ParseID(good)
	if err != nil {
		t.Fatal(err)
	}
	if b, err := id.AppendText([]byte("id ")); err != nil || string(b) != "id "+good || id.String() != good {
		t.Errorf("it is written as %s and %s, %v", b, id, err)
	}
	for _, bad := range []string{
		"", " ", good + " ", " " + good, strings.ToUpper(good), strings.ReplaceAll(good, "-", ""),
		"{" + good + "}", "urn:uuid:" + good, good[:35], good + "0",
		"0195955b-6000-4abc-8def-0123456789ab", // version 4
		"0195955b-6000-7abc-cdef-0123456789ab", // another variant
		"0195955b-6000-7abc-8def-0123456789ag", "0195955b_6000_7abc_8def_0123456789ab", "00000000-0000-0000-0000-000000000000",
	} {
		if id, err := store.ParseID(bad); !errors.Is(err, store.ErrBadID) || !id.IsZero() {
			t.Errorf("%q reads as %s, %v", bad, id, err)
		}
	}
}

func TestShelf(t *testing.T) {
	day := store.ShelfOf(noon)
	for _, tt := range []struct {
		name string
		days int
		past time.Duration // after noon of the day of minting
		want bool
	}{
		{"the day of minting", 1, 0, false},
		{"the last day begins", 1, 12 * time.Hour, false},
		{"the last day ends", 1, 36*time.Hour - time.Millisecond, false},
		{"the day after", 1, 36 * time.Hour, true},
		{"thirty days on", 31, 31 * 24 * time.Hour, false},
		{"the longest", store.MaxDays, 4095*24*time.Hour + 12*time.Hour, true},
		{"before it was minted", 1, -1000 * time.Hour, false},
		{"forever", 0, 100 * 365 * 24 * time.Hour, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			id, err := store.NewID(noon, tt.days, strings.NewReader("12345678"))
			if err != nil {
				t.Fatal(err)
			}
			if got := id.Shelf().Past(noon.Add(tt.past)); got != tt.want {
				t.Errorf("past: %t, want %t", got, tt.want)
			}
			if end := id.Shelf().End(); tt.days > 0 && (id.Shelf().Past(end.Add(-time.Millisecond)) || !id.Shelf().Past(end)) {
				t.Errorf("it does not end at %s", end)
			}
			if want := day + store.Shelf(tt.days); tt.days > 0 && id.Shelf() != want {
				t.Errorf("shelf %d, want %d", id.Shelf(), want)
			}
		})
	}
	for _, early := range []time.Time{{}, time.Unix(-1, 0), time.Unix(-1<<40, 0)} {
		if got := store.ShelfOf(early); got != 0 {
			t.Errorf("%s lies on shelf %d: everything would be past", early, got)
		}
	}
}

func TestDaysFor(t *testing.T) {
	for _, tt := range []struct {
		d    time.Duration
		want int
	}{
		{1, 1}, {time.Hour, 1}, {store.Day, 1}, {store.Day + 1, 2}, {721 * time.Hour, 31}, {store.MaxDays * store.Day, store.MaxDays},
	} {
		if got, err := store.DaysFor(tt.d); err != nil || got != tt.want {
			t.Errorf("%s: %d, %v; want %d", tt.d, got, err, tt.want)
		}
	}
	for _, d := range []time.Duration{0, -1, store.MaxDays*store.Day + 1, 1<<63 - 1} {
		if got, err := store.DaysFor(d); err == nil {
			t.Errorf("%s: %d days", d, got)
		}
	}
}
