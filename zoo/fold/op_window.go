package fold

import (
	"slices"

	"github.com/zoofold/zoofold/zoo/model"
)

// overhangs says whether a window of a convolution or pooling may reach over the edge of its input. If the extents of the
// input are static, the effect of auto_pad, of padding at the end and of ceil_mode is computed exactly.
func overhangs(n *model.Node, kernel []int64) bool {
	spatial := len(kernel)
	pads, strides, dilations := n.Ints("pads"), n.Ints("strides"), n.Ints("dilations")
	extents := slices.Repeat([]int64{-1}, spatial)
	if s := n.In(0).Shape; len(s) == 2+spatial {
		extents = s[2:]
	}
	for k, extent := range extents {
		stride, before, behind := max(at(strides, k, 1), 1), at(pads, k, 0), at(pads, spatial+k, 0)
		reach := (kernel[k]-1)*at(dilations, k, 1) + 1
		switch n.Str("auto_pad", "NOTSET") {
		case "VALID":
			before, behind = 0, 0
		case "SAME_UPPER", "SAME_LOWER":
			if reach > 1 && (extent < 0 || (extent-1)/stride*stride+reach > extent) {
				return true
			}
			continue
		}
		room := extent + before + behind - reach // positions that the window can move by
		if n.Int("ceil_mode", 0) != 0 {
			room += stride - 1
		}
		switch {
		case before > 0:
			return true
		case behind <= 0 && n.Int("ceil_mode", 0) == 0:
		case extent < 0 || room/stride*stride+reach > extent+before:
			return true
		}
	}
	return false
}

// at is element k of a list, or def if there is none.
func at(list []int64, k int, def int64) int64 {
	if k >= 0 && k < len(list) {
		return list[k]
	}
	return def
}
