// SPDX-License-Identifier: Apache-2.0

package api

import (
	"encoding/json"
	"encoding/pem"
	"fmt"
	"regexp"
	"strings"
)

// maxShownValue is how much of an invalid value an error contains, in bytes.
const maxShownValue = 120

// shownValue returns an invalid value for an error: as it is, or shortened. Errors are logged and printed, so if the value may be a secret in
// the wrong field, it returns only the kind and the length.
func shownValue(value any) any {
	if text, is := value.(string); is {
		return shownText(text)
	}
	text, err := json.Marshal(value)
	if containsSecret(value) {
		kind := "list"
		if _, is := value.(map[string]any); is {
			kind = "map"
		}
		return fmt.Sprintf("[hidden: %s, %d bytes]", kind, len(text))
	}
	if err != nil || len(text) > maxShownValue {
		return Shorten(fmt.Sprint(value), maxShownValue)
	}
	return value
}

// shownText is shownValue for a text.
func shownText(text string) string {
	if !mayBeSecret(text) {
		return Shorten(text, maxShownValue)
	}
	kind := "text"
	if block, _ := pem.Decode([]byte(strings.TrimSpace(text))); block != nil && pemType.MatchString(block.Type) {
		kind = block.Type + " in PEM"
	} else if lines := strings.Count(strings.TrimSpace(text), "\n") + 1; lines > 1 {
		kind = fmt.Sprintf("text of %d lines", lines)
	}
	return fmt.Sprintf("[hidden: %s, %d bytes]", kind, len(text))
}

func containsSecret(value any) bool {
	switch value := value.(type) {
	case string:
		return mayBeSecret(value)
	case map[string]any:
		for key, one := range value {
			if mayBeSecret(key) || containsSecret(one) {
				return true
			}
		}
	case []any:
		for _, one := range value {
			if containsSecret(one) {
				return true
			}
		}
	}
	return false
}

var (
	pemType = regexp.MustCompile(`^[A-Z0-9 ]{1,40}$`)
	// Keys and tokens are encoded as long words in hexadecimal or base64. Other long words are names, which have no capital letters or no
	// digits.
	hexWord    = regexp.MustCompile(`[0-9A-Fa-f]{32}`)
	base64Word = regexp.MustCompile(`[0-9A-Za-z+_=]{20,}`)
)

// mayBeSecret reports whether a text looks like a key, a certificate, or a token: it has several lines, a part of PEM, or a long random word.
func mayBeSecret(text string) bool {
	if strings.ContainsAny(text, "\r\n") || strings.Contains(text, "-----") || hexWord.MatchString(text) {
		return true
	}
	for _, word := range base64Word.FindAllString(text, -1) {
		if strings.ContainsAny(word, "0123456789") && strings.ToLower(word) != word && strings.ToUpper(word) != word {
			return true
		}
	}
	return false
}
