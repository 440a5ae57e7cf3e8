package op

// Products multiplies matrices: all that is slow in evaluating a network. A device may take it over.
type Products interface {
	// Add adds A·B to C. A is rows × depth, row after row; C is rows × 4·panels, row after row. The columns of B stand in panels
	// of four, each of which is four numbers after four numbers down the depth; from one panel to the next are stride numbers.
	// Each element's products are added up in their order, starting from 0, before the sum is added to C.
	Add(c, a, b []float64, rows, depth, panels, stride int)
}

// Panel is how many columns stand beside each other.
const Panel = 4

// PlainProducts are in Go, without anything that a processor would have to have.
type PlainProducts struct{}

// Add takes two rows and four columns at a time.
func (PlainProducts) Add(c, a, b []float64, rows, depth, panels, stride int) {
	width := panels * Panel
	for r := 0; r < rows; r += 2 {
		first := a[r*depth:][:depth]
		second, both := first, r+1 < rows
		if both {
			second = a[(r+1)*depth:][:depth]
		}
		for p := range panels {
			y := four(b[p*stride:][:depth*Panel], first, second)
			to := c[r*width+p*Panel:][:Panel]
			for j := range to {
				to[j] += y[0][j]
			}
			if both {
				to = c[(r+1)*width+p*Panel:][:Panel]
				for j := range to {
					to[j] += y[1][j]
				}
			}
		}
	}
}

// four are the products of two rows with four columns. The conversions keep processors that could from leaving out the
// rounding of the product.
func four(b, first, second []float64) (y [2][Panel]float64) {
	var a0, a1, a2, a3, b0, b1, b2, b3 float64
	second = second[:len(first)]
	for k, v := range first {
		x, w := b[k*Panel:][:Panel:Panel], second[k]
		a0 += float64(v * x[0])
		a1 += float64(v * x[1])
		a2 += float64(v * x[2])
		a3 += float64(v * x[3])
		b0 += float64(w * x[0])
		b1 += float64(w * x[1])
		b2 += float64(w * x[2])
		b3 += float64(w * x[3])
	}
	return [2][Panel]float64{{a0, a1, a2, a3}, {b0, b1, b2, b3}}
}

// Columns are the right operand of a product.
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
