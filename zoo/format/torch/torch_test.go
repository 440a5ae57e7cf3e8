package torch_test

import (
	"testing"

	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestSuite(t *testing.T) {
	formattest.Suite{Generate: zootest.Torch, Seeds: 60, Damages: 600}.Run(t)
}
