package caffe_test

import (
	"testing"

	_ "github.com/zoofold/zoofold/zoo/format/caffe"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/zootest"
)

func TestSuite(t *testing.T) {
	formattest.Suite{Generate: zootest.Caffe, Seeds: 40, Damages: 2000}.Run(t)
}
