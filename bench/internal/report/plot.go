package report

import (
	"bytes"
	"errors"
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

const (
	plotWidth, plotHeight = 26 * vg.Centimeter, 14 * vg.Centimeter
	legendWidth           = 9 * vg.Centimeter
)

// palette returns colours that people with any kind of colour vision can tell apart (Okabe and Ito).
func palette() []color.RGBA {
	return []color.RGBA{
		{0x00, 0x00, 0x00, 0xff}, {0xe6, 0x9f, 0x00, 0xff}, {0x56, 0xb4, 0xe9, 0xff}, {0x00, 0x9e, 0x73, 0xff},
		{0x00, 0x72, 0xb2, 0xff}, {0xd5, 0x5e, 0x00, 0xff}, {0xcc, 0x79, 0xa7, 0xff}, {0x99, 0x99, 0x99, 0xff},
	}
}

// Plot writes an SVG of the throughput of the named rows over the numbers of connections. Those that strong picks are drawn with thick lines.
func (r Rows) Plot(w io.Writer, names []string, connections []int, strong func(name string) bool) error {
	p := plot.New()
	p.Title.Text = "Requests a second over connections"
	p.X.Label.Text, p.Y.Label.Text = "keep-alive connections", "requests a second"
	p.X.Scale, p.Y.Scale = plot.LogScale{}, plot.LogScale{}
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks(connections), decades{}
	p.Title.Padding = 4 * vg.Millimeter
	p.X.Padding, p.Y.Padding = 0, 0
	for _, t := range []*font.Font{&p.Title.TextStyle.Font, &p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font, &p.Y.Tick.Label.Font} {
		*t = sans(t.Size)
	}
	legend := plot.NewLegend()
	legend.TextStyle.Font = sans(vg.Points(11))
	legend.Top, legend.Left, legend.Padding, legend.ThumbnailWidth = true, true, vg.Points(5), vg.Points(28)
	grid := plotter.NewGrid()
	grid.Vertical.Color, grid.Horizontal.Color = color.Gray{Y: 0xcc}, color.Gray{Y: 0xcc}
	p.Add(grid)
	low, high := math.Inf(1), math.Inf(-1)
	for i, name := range names {
		var points plotter.XYs
		for _, c := range connections {
			if row, ok := r.Find(name, c); ok {
				points = append(points, plotter.XY{X: float64(c), Y: row.PerSecond})
				low, high = min(low, row.PerSecond), max(high, row.PerSecond)
			}
		}
		if len(points) == 0 {
			continue
		}
		if err := series(p, &legend, name, points, look(i, strong(name))); err != nil {
			return fmt.Errorf("plotting %s: %w", name, err)
		}
	}
	if low > high {
		return errors.New("there is nothing to plot")
	}
	p.Y.Min, p.Y.Max = math.Pow(10, math.Floor(math.Log10(low))), high*1.3
	p.X.Min, p.X.Max = float64(slices.Min(connections))*0.9, float64(slices.Max(connections))*1.1
	return render(w, p, &legend)
}

// style is how one line looks.
type style struct {
	color color.RGBA
	shape draw.GlyphDrawer
	width vg.Length
	dash  []vg.Length
}

func look(i int, strong bool) style {
	colors := palette()
	shapes := []draw.GlyphDrawer{draw.CircleGlyph{}, draw.SquareGlyph{}, draw.PyramidGlyph{}}
	s := style{color: colors[i%len(colors)], shape: shapes[i%len(shapes)], width: vg.Points(1.5)}
	if strong {
		s.width = vg.Points(3)
	}
	if i >= len(colors) {
		s.dash = []vg.Length{vg.Points(6), vg.Points(3)}
	}
	return s
}

func series(p *plot.Plot, legend *plot.Legend, name string, points plotter.XYs, s style) error {
	line, dots, err := plotter.NewLinePoints(points)
	if err != nil {
		return err
	}
	line.Color, line.Width, line.Dashes = s.color, s.width, s.dash
	dots.Color, dots.Shape, dots.Radius = s.color, s.shape, vg.Points(3.5)
	p.Add(line, dots)
	legend.Add(name, line, dots)
	return nil
}

// render draws the legend beside the plot: there is no room in it that no line passes.
func render(w io.Writer, p *plot.Plot, legend *plot.Legend) error {
	c := vgsvg.New(plotWidth, plotHeight)
	all := draw.New(c)
	all.SetColor(color.White)
	all.Fill(all.Path())
	p.Draw(draw.Crop(all, 2*vg.Millimeter, -legendWidth, 2*vg.Millimeter, -2*vg.Millimeter))
	legend.Draw(draw.Crop(all, plotWidth-legendWidth+3*vg.Millimeter, 0, 0, -14*vg.Millimeter))
	var svg bytes.Buffer
	if _, err := c.WriteTo(&svg); err != nil {
		return fmt.Errorf("drawing the plot: %w", err)
	}
	// Most readers do not have the font by which the library measures; those of the same widths come next.
	text := strings.ReplaceAll(svg.String(), "font-family:Liberation Sans;", "font-family:Liberation Sans,Arial,Helvetica,sans-serif;")
	if _, err := io.WriteString(w, text); err != nil {
		return fmt.Errorf("writing the plot: %w", err)
	}
	return nil
}

func sans(size vg.Length) font.Font {
	return font.Font{Typeface: "Liberation", Variant: "Sans", Size: max(size, vg.Points(11))}
}

// ticks marks the numbers of connections.
type ticks []int

// Ticks implements plot.Ticker.
func (t ticks) Ticks(_, _ float64) []plot.Tick {
	all := make([]plot.Tick, len(t))
	for i, c := range t {
		all[i] = plot.Tick{Value: float64(c), Label: strconv.Itoa(c)}
	}
	return all
}

// decades marks 1, 2 and 5 of each power of ten.
type decades struct{}

// Ticks implements plot.Ticker.
func (decades) Ticks(low, high float64) []plot.Tick {
	var all []plot.Tick
	for d := math.Pow(10, math.Floor(math.Log10(low))); d <= high; d *= 10 {
		for _, v := range []float64{d, 2 * d, 5 * d} {
			if v >= low && v <= high {
				all = append(all, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', -1, 64)})
			}
		}
	}
	return all
}
