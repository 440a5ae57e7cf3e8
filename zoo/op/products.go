package op

import "math"

// Products multiplies matrices, which takes most of the time of evaluating a network. A device could do it.
type Products interface {
	// Add adds A·B, or with absolute |A|·B, to C. A is rows × depth, row after row; C is rows × 4·panels, row after row.
	// The columns of B stand in panels of four, each of which has the four numbers of one depth after those of the depth
	// before; from one panel to the next are stride numbers. Each element's products are added up in their order, starting
	// from 0, each product and sum rounded once together, before the sum is added to C.
	Add(c, a, b []float64, rows, depth, panels, stride int, absolute bool)
}

// Panel is the number of columns that are stored side by side: as many as an AVX2 vector holds.
const Panel = 4

// PlainProducts are in plain Go, for any processor.
type PlainProducts struct{}

// Add takes one row and one panel at a time.
func (PlainProducts) Add(c, a, b []float64, rows, depth, panels, stride int, absolute bool) {
	for r := range rows {
		row := a[r*depth:][:depth]
		for p := range panels {
			panel := b[p*stride:][:depth*Panel]
			var y0, y1, y2, y3 float64
			for _, v := range row {
				if absolute {
					v = math.Abs(v)
				}
				x := panel[:Panel:Panel]
				y0 = math.FMA(v, x[0], y0)
				y1 = math.FMA(v, x[1], y1)
				y2 = math.FMA(v, x[2], y2)
				y3 = math.FMA(v, x[3], y3)
				panel = panel[Panel:]
			}
			to := c[(r*panels+p)*Panel:][:Panel]
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
