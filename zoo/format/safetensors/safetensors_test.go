package safetensors_test

import (
	"testing"

	_ "github.com/zoofold/zoofold/zoo/format/safetensors"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestSuite(t *testing.T) {
	formattest.Suite{Generate: zootest.Safetensors, Seeds: 60, Damages: 600}.Run(t)
}
