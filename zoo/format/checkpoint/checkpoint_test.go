package checkpoint_test

import (
	"testing"

	_ "github.com/zoofold/zoofold/zoo/format/checkpoint"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestSuite(t *testing.T) {
	formattest.Suite{Generate: zootest.Checkpoint, Seeds: 60, Damages: 600}.Run(t)
}
