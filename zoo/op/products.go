package op

import "math"

// Products multiplies matrices, which takes most of the time of evaluating a network. A device could do it.
type Products interface {
	// Add adds A·B, or with absolute |A|·B, to C. A is rows × depth, row after row; C is rows × 8·panels, row after row. The columns of B stand in panels
	// of eight, each of which is eight numbers after eight numbers down the depth; from one panel to the next are stride numbers.
	// Each element's products are added up in their order, starting from 0, before the sum is added to C.
	Add(c, a, b []float64, rows, depth, panels, stride int, absolute bool)
}

// Panel is the number of columns that are stored side by side.
const Panel = 8

// PlainProducts are in plain Go, for any processor.
type PlainProducts struct{}

// Add takes one row and four columns at a time, since processors have sixteen places for numbers. The conversions keep those
// that could from leaving out the rounding of a product.
func (PlainProducts) Add(c, a, b []float64, rows, depth, panels, stride int, absolute bool) {
	width := panels * Panel
	for r := range rows {
		row := a[r*depth:][:depth]
		for j := 0; j < width; j += 4 {
			panel := b[j/Panel*stride+j%Panel:]
			var y0, y1, y2, y3 float64
			for _, v := range row {
				if absolute {
					v = math.Abs(v)
				}
				x := panel[:4:4]
				y0 += float64(v * x[0])
				y1 += float64(v * x[1])
				y2 += float64(v * x[2])
				y3 += float64(v * x[3])
				panel = panel[min(Panel, len(panel)):]
			}
			to := c[r*width+j:][:4]
			to[0] += y0
			to[1] += y1
			to[2] += y2
			to[3] += y3
		}
	}
}

// Columns are the right operand of a product, stored in panels.
type Columns struct {
	Depth, Count int
	Data         []float64
}

// NewColumns are so many columns of zeros.
func NewColumns(depth, count int) *Columns {
	c := &Columns{Depth: depth, Count: count}
	c.Data = make([]float64, c.Panels()*depth*Panel)
	return c
}

// Panels is how many panels there are: the last one may have columns of zeros.
func (c *Columns) Panels() int { return (c.Count + Panel - 1) / Panel }

// column is column j; element k stands at Panel·k.
func (c *Columns) column(j int) []float64 { return c.Data[j/Panel*c.Depth*Panel+j%Panel:] }
