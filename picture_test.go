// SPDX-License-Identifier: Apache-2.0

package outrigger

import (
	"crypto/sha256"
	"fmt"
	"os"
	"strings"
	"testing"
)

// The picture ends with the digests of its source and of itself, so an edit of either without "make picture" is found.
func TestPictureIsDrawnFromItsSource(t *testing.T) {
	const source, picture = "docs/pictures/overview.d2", "docs/pictures/overview.svg"
	drawn, mark, _ := strings.Cut(read(t, picture), "\n<!-- ")
	want := fmt.Sprintf("source sha256:%x picture sha256:%x -->\n", sha256.Sum256([]byte(read(t, source))), sha256.Sum256([]byte(drawn)))
	if *update {
		if err := os.WriteFile(picture, []byte(drawn+"\n<!-- "+want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if mark != want {
		t.Errorf("%s was not drawn from %s; \"make picture\" draws it", picture, source)
	}
}
