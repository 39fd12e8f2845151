// SPDX-License-Identifier: Apache-2.0

package api

import (
	"regexp"
	"strings"
	"testing"
)

// Envoy wants the expression to match the whole header.
func TestCookieRegex(t *testing.T) {
	for _, test := range []struct {
		cookie string // name=value
		header string
		want   bool
	}{
		{"beta=1", "beta=1", true},
		{"beta=1", "a=b; beta=1", true},
		{"beta=1", "a=b;beta=1;c=d", true},
		{"beta=1", "a=b; beta=1 ; c=d", true},
		{"beta=1", "beta=12", false},
		{"beta=1", "xbeta=1", false},
		{"beta=1", "a=beta=1", false},
		{"beta=1", "Beta=1", false},
		{"beta=1", "", false},
		{"a.b=c*", "a.b=c*", true},
		{"a.b=c*", "axb=ccc", false},
		{`x=a\"|b`, `x=a\"|b; y=z`, true},
	} {
		name, value, _ := strings.Cut(test.cookie, "=")
		regex := CookieRegex(name, value)
		whole := regexp.MustCompile(`\A(?:` + regex + `)\z`)
		if got := whole.MatchString(test.header); got != test.want {
			t.Errorf("%s on %q: %t, want %t", regex, test.header, got, test.want)
		}
		if back, made := CookieOf(regex); !made || back != test.cookie {
			t.Errorf("%s is read back as %q, %t", regex, back, made)
		}
	}
	for _, other := range []string{"", "^.*$", `^(.*;\s*)?a.b=c(\s*;.*)?$`, `^(.*;\s*)?a=b`} {
		if pair, made := CookieOf(other); made {
			t.Errorf("%q is taken for cookie %s", other, pair)
		}
	}
}

// What is read prints as it may be written, and is read the same again.
func TestMatchIsPrintedAsItIsWritten(t *testing.T) {
	for _, text := range []string{"v2=header:end-user:a:b%3B%25", "v2=header-prefix:x:can", "v3=cookie:a.b:c%25", "v2=query:v%3B:1", "v2=source:1.2_x"} {
		match, err := parseMatch(text)
		if err != nil || match.String() != text {
			t.Errorf("%s prints as %s (%v)", text, match, err)
		}
	}
}

func TestMatchThatReceivesNothingIsTold(t *testing.T) {
	for _, test := range []struct{ in, loser, winner string }{
		{"v2=header:a:b;v3=header:A:b", "v3=header:a:b", "v2=header:a:b"},
		{"v2=header-prefix:a:b;v3=header:a:bc", "v3=header:a:bc", "v2=header-prefix:a:b"},
		{"v2=header-prefix:a:b;v3=header-prefix:a:bc", "v3=header-prefix:a:bc", "v2=header-prefix:a:b"},
		{"v2=cookie:a:b;v2=cookie:a:b", "v2=cookie:a:b", "v2=cookie:a:b"},
		{"v2=source:v2;v3=source:v2", "v3=source:v2", "v2=source:v2"},
		{"v2=header:a:bc;v3=header-prefix:a:b", "", ""},
		{"v2=header:a:b;v3=query:a:b", "", ""},
		{"v2=header:a:b;v3=header:c:b", "", ""},
	} {
		intent, problems := RouteIntentOf(objects("match=" + test.in))
		if intent.Bad[AnnotationMatch] || len(intent.Match) != 2 {
			t.Errorf("%s: bad %v, %v", test.in, intent.Bad, intent.Match)
		}
		if test.loser == "" {
			if len(problems) > 0 {
				t.Errorf("%s: %v", test.in, problems)
			}
			continue
		}
		if len(problems) != 1 || problems[0].Reason != RouteWithoutEffect || !strings.HasPrefix(problems[0].Message, test.loser+" receives nothing: "+test.winner+" comes") {
			t.Errorf("%s: %v", test.in, problems)
		}
	}
}
