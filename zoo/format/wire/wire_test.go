package wire_test

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/wire"
	"github.com/zoofold/zoofold/zoo/formattest"
	"github.com/zoofold/zoofold/zoo/tensor"
)

// reader reads a file that holds the bytes.
func reader(t *testing.T, data []byte) *wire.Reader {
	path := filepath.Join(t.TempDir(), "message")
	if err := os.WriteFile(path, data, 0o666); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return &wire.Reader{File: f, Size: int64(len(data))}
}

func TestMessage_OfNewAndCopiedFieldsIsReadByProtowire(t *testing.T) {
	stored := protowire.AppendBytes(protowire.AppendTag(nil, 9, protowire.BytesType), bytes.Repeat([]byte("stored"), 30000))
	r := reader(t, stored)
	inner := &wire.Message{}
	inner.Varint(1, 300)
	err := r.Each(format.Span{From: 0, To: r.Size}, func(f wire.Field) error {
		inner.Copy(f.All)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	out := &wire.Message{}
	out.Text(2, "a name")
	out.Message(3, inner)
	folder := formattest.Folder{Path: t.TempDir(), Name: "written"}
	if err := format.Splice(context.Background(), folder, "", r.File, out.Pieces, tensor.Reference{}); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(folder.Path, folder.Name))
	if err != nil {
		t.Fatal(err)
	}
	body := append(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 300), stored...)
	want := protowire.AppendString(protowire.AppendTag(nil, 2, protowire.BytesType), "a name")
	want = protowire.AppendBytes(protowire.AppendTag(want, 3, protowire.BytesType), body)
	if !bytes.Equal(got, want) || out.Size != int64(len(want)) {
		t.Errorf("%d bytes, said to be %d, want %d", len(got), out.Size, len(want))
	}
}

func TestParse_RefusesLengthsBeyondTheMessage(t *testing.T) {
	tag := func(kind protowire.Type) []byte { return protowire.AppendTag(nil, 1, kind) }
	for name, data := range map[string][]byte{
		"text longer than the file":     append(tag(protowire.BytesType), 5, 'a'),
		"a length of 2^64-1":            protowire.AppendVarint(tag(protowire.BytesType), 1<<64-1),
		"a number that does not end":    append(tag(protowire.VarintType), 0x80, 0x80),
		"a number of eleven bytes":      append(tag(protowire.VarintType), bytes.Repeat([]byte{0xff}, 11)...),
		"four bytes of which two exist": append(tag(protowire.Fixed32Type), 1, 2),
		"field number 0":                {0, 0},
		"a group":                       tag(protowire.StartGroupType),
	} {
		r := reader(t, data)
		err := r.Each(format.Span{From: 0, To: r.Size}, func(wire.Field) error { return nil })
		if !errors.Is(err, format.ErrCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestNumbers_AreReadPackedOrSingleUpToALimit(t *testing.T) {
	var packed, single []byte
	for k := range uint64(1000) {
		packed = protowire.AppendVarint(packed, k*k)
		single = protowire.AppendVarint(protowire.AppendTag(single, 1, protowire.VarintType), k*k)
	}
	packed = protowire.AppendBytes(protowire.AppendTag(nil, 1, protowire.BytesType), packed)
	for name, data := range map[string][]byte{"packed": packed, "one by one": single} {
		for limit, want := range map[int]error{1000: nil, 999: format.ErrLimit} {
			r := reader(t, data)
			var list []int64
			err := r.Each(format.Span{From: 0, To: r.Size}, func(f wire.Field) (err error) {
				list, err = r.Numbers(list, f, limit)
				return err
			})
			if !errors.Is(err, want) || want == nil && (len(list) != 1000 || list[999] != 999*999) {
				t.Errorf("%s, limit %d: %d numbers, %v", name, limit, len(list), err)
			}
		}
	}
}
