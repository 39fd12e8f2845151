// SPDX-License-Identifier: Apache-2.0

package traffic

import (
	"fmt"
	"image/color"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"outrigger.dev/outrigger/test/traffic/load"
)

// bin is the span of time that one point of a plot counts.
const bin = time.Second

// Colors that differ for color-blind readers, too, on the white background that every plot has.
var (
	versionColors = []color.Color{rgb(0x0072b2), rgb(0xe69f00), rgb(0x009e73), rgb(0xcc79a7), rgb(0x56b4e9)}
	errorColor    = rgb(0xd00000)
	stepColor     = rgb(0x444444)
	writeColors   = map[string]color.Color{"DestinationRule": rgb(0x9b7fd0), "VirtualService": rgb(0x7ab87a), "Gateway": rgb(0xd0a060)}
)

func rgb(hex uint32) color.Color {
	return color.RGBA{R: uint8(hex >> 16), G: uint8(hex >> 8), B: uint8(hex), A: 0xff}
}

const (
	width       = 9.6 * vg.Inch
	wayHeight   = 2.2 * vg.Inch
	legendWidth = 1.5 * vg.Inch // right of the plots
	stepRows    = 3             // the texts of steps take turns on these rows above the curves
)

// Draw writes the plot of a record as a PNG into a folder.
func (r *Record) Draw(folder string) error {
	plots := make([][]*plot.Plot, len(r.Ways))
	for i, way := range r.Ways {
		p, err := r.plot(way, i == 0, i == len(r.Ways)-1)
		if err != nil {
			return fmt.Errorf("plot %s: %w", r.File, err)
		}
		plots[i] = []*plot.Plot{p}
	}
	canvas := vgimg.NewWith(vgimg.UseWH(width, wayHeight*vg.Length(len(plots))+0.3*vg.Inch), vgimg.UseDPI(100), vgimg.UseBackgroundColor(color.White))
	tiles := draw.Tiles{Rows: len(plots), Cols: 1, PadTop: 4, PadBottom: 4, PadLeft: 6, PadRight: 10, PadY: 8}
	all := draw.New(canvas)
	for i, tile := range plot.Align(plots, tiles, draw.Crop(all, 0, -legendWidth, 0, 0)) {
		p := plots[i][0]
		legend := p.Legend
		p.Legend = plot.NewLegend()
		p.Draw(tile[0])
		beside := tile[0]
		beside.Min.X, beside.Max.X = all.Max.X-legendWidth, all.Max.X
		legend.Draw(beside)
	}
	file, err := os.Create(filepath.Join(folder, r.File+".png"))
	if err != nil {
		return err
	}
	if _, err := (vgimg.PngCanvas{Canvas: canvas}).WriteTo(file); err != nil {
		_ = file.Close()
		return err
	}
	return file.Close()
}

func (r *Record) plot(way Way, first, last bool) (*plot.Plot, error) {
	p := plot.New()
	if first {
		p.Title.Text = r.Name
		if !r.Outrigger {
			p.Title.Text += " (without Outrigger)"
		}
	}
	p.Y.Label.Text = way.Name
	if last {
		p.X.Label.Text = "seconds; responses per second by version"
	}
	p.Y.Min, p.X.Min, p.X.Max = 0, 0, math.Max(r.End.Sub(r.Start).Seconds(), 1)
	p.Legend.Top, p.Legend.Left, p.Legend.XOffs, p.Legend.YOffs, p.Legend.ThumbnailWidth = true, true, 2, -16, 16
	p.Legend.TextStyle.Font.Size = vg.Points(9)
	p.X.Tick.Marker, p.Y.Tick.Marker = plot.TickerFunc(ticks), plot.TickerFunc(ticks)

	curves, failures := rates(way.Responses, r.Start, r.End)
	highest := 1.0
	for i, version := range slices.Sorted(maps.Keys(curves)) {
		for _, point := range curves[version] {
			highest = math.Max(highest, point.Y)
		}
		line, err := plotter.NewLine(curves[version])
		if err != nil {
			return nil, err
		}
		line.Color, line.Width = versionColors[i%len(versionColors)], vg.Points(1.8)
		p.Add(line)
		p.Legend.Add(version, line)
	}
	p.Y.Max = highest * 1.45
	if len(failures) > 0 {
		dots, err := plotter.NewScatter(failures)
		if err != nil {
			return nil, err
		}
		dots.Shape, dots.Color, dots.Radius = draw.BoxGlyph{}, errorColor, vg.Points(3)
		p.Add(dots)
		p.Legend.Add("failed", dots)
	}
	return p, r.addMarks(p, highest)
}

// ticks are the default ones, with labels without trailing zeros.
func ticks(low, high float64) []plot.Tick {
	out := plot.DefaultTicks{}.Ticks(low, high)
	for i := range out {
		if !out[i].IsMinor() {
			out[i].Label = strconv.FormatFloat(out[i].Value, 'g', 6, 64)
		}
	}
	return out
}

// addMarks draws a dotted line for each write, and a line with its text for each step.
func (r *Record) addMarks(p *plot.Plot, highest float64) error {
	named := map[string]bool{}
	row := 0
	for _, mark := range r.Marks {
		x := mark.At.Sub(r.Start).Seconds()
		if x < 0 || x > p.X.Max {
			continue
		}
		top := p.Y.Max
		if mark.Kind != Step {
			top = highest * 1.04
		}
		line, err := plotter.NewLine(plotter.XYs{{X: x, Y: 0}, {X: x, Y: top}})
		if err != nil {
			return err
		}
		line.Color, line.Width = stepColor, vg.Points(0.8)
		if mark.Kind != Step {
			line.Color, line.Dashes = writeColors[mark.Kind], []vg.Length{vg.Points(2), vg.Points(2)}
			if line.Color == nil {
				line.Color = stepColor
			}
			if !named[mark.Kind] {
				named[mark.Kind] = true
				p.Legend.Add(mark.Kind+" written", line)
			}
			p.Add(line)
			continue
		}
		p.Add(line)
		y := highest * (1.36 - 0.11*float64(row%stepRows))
		row++
		label, err := plotter.NewLabels(plotter.XYLabels{XYs: plotter.XYs{{X: x, Y: y}}, Labels: []string{" " + mark.Text}})
		if err != nil {
			return err
		}
		label.TextStyle[0].Font.Size = vg.Points(8)
		label.TextStyle[0].Color = stepColor
		if x > 0.8*p.X.Max { // the text stays within the plot
			label.TextStyle[0].XAlign = draw.XRight
			label.Labels[0] = mark.Text + " "
		}
		p.Add(label)
	}
	return nil
}

// rates returns, for each version, the successful responses per second, and a point for each span with failed responses.
func rates(responses []load.Response, start, end time.Time) (map[string]plotter.XYs, plotter.XYs) {
	bins := max(int(end.Sub(start)/bin), 1)
	counts, failed := map[string][]int{}, make([]int, bins)
	for _, r := range responses {
		i := int(r.Sent.Sub(start) / bin)
		if i < 0 || i >= bins {
			continue
		}
		if r.Failed() {
			failed[i]++
			continue
		}
		if counts[r.Version] == nil {
			counts[r.Version] = make([]int, bins)
		}
		counts[r.Version][i]++
	}
	perSecond := func(i, n int) plotter.XY {
		return plotter.XY{X: (float64(i) + 0.5) * bin.Seconds(), Y: float64(n) / bin.Seconds()}
	}
	curves := map[string]plotter.XYs{}
	for version, of := range counts {
		for i, n := range of {
			curves[version] = append(curves[version], perSecond(i, n))
		}
	}
	var crosses plotter.XYs
	for i, n := range failed {
		if n > 0 {
			crosses = append(crosses, perSecond(i, n))
		}
	}
	return curves, crosses
}
