package hdf5

import (
	"fmt"
	"testing"
)

// The library finds links through the keys of B-trees, which the reader does not need.
func TestTree_LinksHaveKeysAndNeighbours(t *testing.T) {
	for _, links := range []int{0, 1, 8, 9, 256, 257, 8192, 8193, 10000} {
		e := newEncoder()
		names := make([]string, links)
		for k := range names {
			names[k] = fmt.Sprintf("%06d", k)
		}
		_, places := e.localHeap(names)
		level := []child{{e.symbolTree(make([]symbol, links), places), 0}} // address, and the key before it
		for height := int(e.b[level[0].at+5]); height >= 0; height-- {
			var below []child
			for k, node := range level {
				c := &cursor{b: e.b[node.at:], at: node.at}
				c.magic("TREE")
				kind, got, count := c.u8(), int(c.u8()), int(c.u16())
				left, right := c.address(), c.address()
				wantLeft, wantRight := int64(undefined), int64(undefined)
				if k > 0 {
					wantLeft = level[k-1].at
				}
				if k < len(level)-1 {
					wantRight = level[k+1].at
				}
				if kind != treeGroup || got != height || count > 2*internalK || count == 0 && links > 0 || left != wantLeft || right != wantRight {
					t.Fatalf("%d links: node %d of level %d: kind %d, level %d, %d children between %d and %d", links, k, height, kind, got, count, left, right)
				}
				key := c.length()
				if key != node.last {
					t.Fatalf("%d links: node %d of level %d begins with key %d, its parent says %d", links, k, height, key, node.last)
				}
				for range count {
					below = append(below, child{c.address(), key})
					next := c.length()
					if next <= key {
						t.Fatalf("%d links: key %d after %d", links, next, key)
					}
					key = next
				}
				if c.wrong != nil {
					t.Fatal(c.wrong)
				}
			}
			level = below
		}
		found := 0
		for _, node := range level {
			c := &cursor{b: e.b[node.at:], at: node.at}
			c.magic("SNOD")
			c.skip(2)
			count := int(c.u16())
			for range count {
				if place := c.length(); place != places[found] || place <= node.last {
					t.Fatalf("%d links: link %d is at %d, not at %d after %d", links, found, place, places[found], node.last)
				}
				c.skip(entrySize - 8)
				found++
			}
		}
		if found != links {
			t.Errorf("%d of %d links are there", found, links)
		}
	}
}
