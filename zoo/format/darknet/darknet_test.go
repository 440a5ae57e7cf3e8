package darknet_test

import (
	"testing"

	_ "github.com/zoofold/zoofold/zoo/format/darknet"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestDarknetPassesTheSuiteOfFormats(t *testing.T) {
	formattest.Suite{Generate: zootest.Darknet, Seeds: 40, Damages: 600}.Run(t)
}
