package main

import (
	"strings"
	"testing"
)

func TestTheSmallestNetworkDecides(t *testing.T) {
	regions, err := Parse("# networks\n10.0.0.0/8 all\n\n10.1.0.0/16\teu\r\n2001:db8::/32 us\ndefault other")
	if err != nil {
		t.Fatal(err)
	}
	for source, want := range map[string]string{
		"10.1.2.3:80":          "eu",
		"10.2.2.3":             "all",
		"[2001:db8::1]:80":     "us",
		"[::ffff:10.1.2.3]:80": "eu",
		"192.0.2.1:80":         "other",
		"":                     "other",
		"nonsense":             "other",
	} {
		if got := regions.Of(source); got != want {
			t.Errorf("%q is %q, not %q", source, got, want)
		}
	}
}

func TestWhatCannotBeMeantIsRefused(t *testing.T) {
	for configuration, reason := range map[string]string{
		"":                "there is no network",
		"default x":       "there is no network",
		"\n::/0":          "line 2: an entry is",
		"::/0 a b":        "an entry is",
		"::1/64 a":        "did you mean ::/64?",
		"here a":          "is no network",
		"10.0.0.0/33 a":   "is no network",
		"::/0 a;b":        "is no region",
		"::/0 a\n::/0 b":  "line 2: there are two regions",
		"default ä":       "is no region",
		"header X-Region": "is no header's name",
	} {
		_, err := Parse(configuration)
		if err == nil || !strings.Contains(err.Error(), reason) {
			t.Errorf("%q: %v", configuration, err)
		}
	}
}
