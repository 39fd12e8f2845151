// SPDX-License-Identifier: Apache-2.0

package api

import (
	"crypto/sha256"
	"encoding/hex"
)

// Shorten cuts text to at most max bytes, on a rune boundary, and marks the cut with "...".
func Shorten(text string, max int) string {
	if len(text) <= max {
		return text
	}
	cut := text[:max]
	for len(cut) > 0 && cut[len(cut)-1]&0xC0 == 0x80 {
		cut = cut[:len(cut)-1]
	}
	if len(cut) > 0 && cut[len(cut)-1] >= 0xC0 {
		cut = cut[:len(cut)-1]
	}
	return cut + "..."
}

// maxEventNote is the length to which the API server limits the note of an Event, in bytes.
const maxEventNote = 1024

// EventNote shortens text to the length of an Event's note.
func EventNote(text string) string { return Shorten(text, maxEventNote-len("...")) }

// ShortHash returns eight hexadecimal digits that depend on all of a text. Generated objects record it, so it must not change.
func ShortHash(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:4])
}
