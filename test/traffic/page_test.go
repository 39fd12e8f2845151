// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"image"
	"image/color"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"outrigger.dev/outrigger/test/traffic/load"
)

// shifted is a run in which v2 replaces v1 at second 5; with losses, some requests fail then.
func shifted(file, beside string, outrigger, losses bool) *Record {
	r := &Record{Name: "v2 replaces v1", File: file, Beside: beside, Outrigger: outrigger, Passed: true, Start: start, End: at(10),
		Marks:     []Mark{{at(4.8), Step, "outrigger promote web v2"}, {at(5), "VirtualService", "web v2=100"}},
		Decisions: []Decision{{At: at(0), Versions: []string{"v1"}}, {At: at(4.8), Versions: []string{"v1", "v2"}}}}
	for _, way := range []string{"at the gateway", "in the mesh"} {
		var responses []load.Response
		for i := range 200 {
			s := float64(i) * 0.05
			switch {
			case s < 5:
				responses = append(responses, answer(s, "v1", 200))
			case losses && s < 5.5:
				responses = append(responses, answer(s, "", 503))
			default:
				responses = append(responses, answer(s, "v2", 200))
			}
		}
		r.Ways = append(r.Ways, Way{way, responses})
	}
	return r
}

// A record that was written and read again is drawn, and the page shows the run with Outrigger next to the one without.
func TestPageShowsEveryPlot(t *testing.T) {
	folder := t.TempDir()
	var records []*Record
	for _, r := range []*Record{shifted("without", "", false, true), shifted("with", "without", true, false)} {
		if err := r.Write(folder); err != nil {
			t.Fatal(err)
		}
		read, err := ReadRecord(filepath.Join(folder, r.File+".json"))
		if err != nil {
			t.Fatal(err)
		}
		if err := read.Draw(folder); err != nil {
			t.Fatal(err)
		}
		records = append(records, read)
		file, err := os.Open(filepath.Join(folder, r.File+".png"))
		if err != nil {
			t.Fatal(err)
		}
		picture, err := png.Decode(file)
		_ = file.Close()
		if err != nil {
			t.Fatal(err)
		}
		if !has(picture, versionColors[0]) || !has(picture, versionColors[1]) || has(picture, errorColor) != (r.File == "without") {
			t.Errorf("%s.png does not show v1, v2, and failures as the record has them", r.File)
		}
	}
	if err := WritePage(folder, "Traffic", records); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(folder, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`<img src="with.png"`, `<img src="without.png"`, "200 responses: v1 100, v2 90, status 503 10", "10 of 200 responses in the mesh failed with status 503", "outrigger promote web v2"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the page does not contain %q:\n%s", want, text)
		}
	}
	if strings.Count(string(text), "<h2") != 1 {
		t.Errorf("the two runs are not one section:\n%s", text)
	}
}

// has reports whether a pixel of the picture has the color.
func has(picture image.Image, want color.Color) bool {
	r, g, b, _ := want.RGBA()
	for y := picture.Bounds().Min.Y; y < picture.Bounds().Max.Y; y++ {
		for x := picture.Bounds().Min.X; x < picture.Bounds().Max.X; x++ {
			if pr, pg, pb, _ := picture.At(x, y).RGBA(); pr == r && pg == g && pb == b {
				return true
			}
		}
	}
	return false
}
