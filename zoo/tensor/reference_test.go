package tensor_test

import (
	"testing"

	"github.com/zoofold/zoofold/zoo/tensor"
	"github.com/zoofold/zoofold/zoo/tensor/tensortest"
)

func TestReferencePassesTheSuite(t *testing.T) { tensortest.Backend(t, tensor.Reference{}) }
