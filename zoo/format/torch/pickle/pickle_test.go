package pickle_test

import (
	"bufio"
	"bytes"
	"errors"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/zoofold/zoofold/zoo/format/torch/pickle"
)

func decode(text string) (pickle.Value, int64, error) {
	return pickle.Decode(bufio.NewReader(strings.NewReader(text)))
}

// What Python's pickle writes, by protocol, of the same object: {'a': [1, -2, 3.5, None, True], 'b': ('x', b'y'), 'n': 2**70}.
var written = map[string]string{
	"2": "\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffG@\x0c\x00\x00\x00\x00\x00\x00N\x88eX\x01\x00\x00\x00bq\x03X\x01\x00\x00\x00xq\x04c_codecs\nencode\nq\x05X\x01\x00\x00\x00yq\x06X\x06\x00\x00\x00latin1q\x07\x86q\x08Rq\t\x86q\nX\x01\x00\x00\x00nq\x0b\x8a\t\x00\x00\x00\x00\x00\x00\x00\x00@u.",
	"4": "\x80\x04\x95>\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffG@\x0c\x00\x00\x00\x00\x00\x00N\x88e\x8c\x01b\x94\x8c\x01x\x94C\x01y\x94\x86\x94\x8c\x01n\x94\x8a\t\x00\x00\x00\x00\x00\x00\x00\x00@u.",
}

func TestDecode_PicklesOfPython(t *testing.T) {
	for protocol, text := range written {
		v, n, err := decode(text + "more")
		if err != nil || n != int64(len(text)) {
			t.Fatalf("protocol %s: %d of %d bytes, %v", protocol, n, len(text), err)
		}
		d := v.(*pickle.Dict)
		list := d.Items[0].Value.(*pickle.List)
		if want := []pickle.Value{int64(1), int64(-2), 3.5, pickle.None{}, true}; !reflect.DeepEqual(list.Items, want) {
			t.Errorf("protocol %s: %v", protocol, list.Items)
		}
		if n, ok := d.Items[2].Value.(*big.Int); !ok || n.Cmp(new(big.Int).Lsh(big.NewInt(1), 70)) != 0 {
			t.Errorf("protocol %s: %v", protocol, d.Items[2].Value)
		}
	}
}

func TestEncode_IsDecodedAsItWas(t *testing.T) {
	shared := &pickle.List{Items: []pickle.Value{int64(1 << 40), int64(-1), int64(300), "text", false}}
	loop := &pickle.List{}
	loop.Items = []pickle.Value{loop, shared}
	o := &pickle.Object{Func: pickle.Global{Module: "collections", Name: "OrderedDict"}, Args: &pickle.Tuple{}, State: &pickle.Dict{}}
	o.Dict = []pickle.Item{{Key: "a", Value: shared}, {Key: "b", Value: loop}, {Key: "big", Value: new(big.Int).Lsh(big.NewInt(-7), 100)}}
	four := &pickle.Tuple{Items: []pickle.Value{int64(1), int64(2), o, &pickle.Persistent{ID: &pickle.Tuple{Items: []pickle.Value{"storage", "0"}}}}}
	text, err := pickle.Encode(four)
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := decode(string(text))
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(v, pickle.Value(four)) {
		t.Errorf("it is something else now: %v", v)
	}
	again := v.(*pickle.Tuple).Items[2].(*pickle.Object)
	if inner := again.Dict[1].Value.(*pickle.List); inner.Items[0] != pickle.Value(inner) || inner.Items[1] != again.Dict[0].Value {
		t.Error("objects that were one are several")
	}
	twice, err := pickle.Encode(v)
	if err != nil || !bytes.Equal(text, twice) {
		t.Errorf("written again, it has other bytes: %v", err)
	}
}

func TestDecode_RefusesHostilePickles(t *testing.T) {
	for name, test := range map[string]struct {
		text string
		want error
	}{
		"nothing":                      {"", pickle.ErrCorrupt},
		"text":                         {"hello", pickle.ErrCorrupt},
		"cut off":                      {written["2"][:40], pickle.ErrCorrupt},
		"an empty stack":               {"\x80\x02.", pickle.ErrCorrupt},
		"a mark is taken":              {"\x80\x02(0.", pickle.ErrCorrupt},
		"no mark":                      {"\x80\x02]e.", pickle.ErrCorrupt},
		"a key without a value":        {"\x80\x02}(K\x01u.", pickle.ErrCorrupt},
		"items of a number":            {"\x80\x02K\x01(K\x01K\x02u.", pickle.ErrCorrupt},
		"what was never kept":          {"\x80\x02h\x07.", pickle.ErrCorrupt},
		"a call without a tuple":       {"\x80\x02cos\nsystem\nK\x01R.", pickle.ErrCorrupt},
		"a string of 4 GB":             {"\x80\x02X\xff\xff\xff\xff", pickle.ErrLimit},
		"a string of 2^63":             {"\x80\x04\x8d\xff\xff\xff\xff\xff\xff\xff\x7f", pickle.ErrLimit},
		"a number of 4 GB":             {"\x80\x02\x8b\xff\xff\xff\xff", pickle.ErrLimit},
		"a number of a million digits": {"I" + strings.Repeat("9", 1<<20) + "\n.", pickle.ErrLimit},
		"an endless line":              {"I" + strings.Repeat("9", 17<<20), pickle.ErrLimit},
		"lists in lists":               {"\x80\x02" + strings.Repeat("]", 1<<20) + strings.Repeat("a", 1<<20-1) + ".", pickle.ErrLimit},
		"tuples in tuples":             {"\x80\x02)" + strings.Repeat("\x85", 1<<20) + ".", pickle.ErrLimit},
		"marks":                        {"\x80\x02" + strings.Repeat("(", 1<<24), pickle.ErrLimit},
		"values":                       {"\x80\x02(" + strings.Repeat("N", 1<<24), pickle.ErrLimit},
		"protocol 9":                   {"\x80\x09N.", pickle.ErrUnsupported},
		"an instance":                  {"\x80\x02(ios\nsystem\n.", pickle.ErrUnsupported},
		"a state set twice":            {"\x80\x02cA\nB\n)RNbNb.", pickle.ErrCorrupt},
	} {
		if _, _, err := decode(test.text); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// A list of two of a list of two of …: 2^60 leaves, which are walked and written once each.
func TestWalk_VisitsSharedValuesOnce(t *testing.T) {
	text := "\x80\x02]q\x00" + strings.Repeat("(h\x00h\x00lq\x000h\x00", 60)
	v, _, err := decode(text + ".")
	if err != nil {
		t.Fatal(err)
	}
	out, err := pickle.Encode(v)
	if err != nil || len(out) > 1000 {
		t.Errorf("%d bytes, %v", len(out), err)
	}
}

func TestDecode_CallsNothing(t *testing.T) {
	v, _, err := decode("\x80\x02cos\nsystem\nX\x02\x00\x00\x00ls\x85R.")
	if err != nil {
		t.Fatal(err)
	}
	if o := v.(*pickle.Object); o.Func != (pickle.Global{Module: "os", Name: "system"}) || o.Args.Items[0] != "ls" {
		t.Errorf("%v", o)
	}
}

// FuzzDecode reads any bytes; what is read is written, and read as the same.
func FuzzDecode(f *testing.F) {
	for _, text := range written {
		f.Add([]byte(text))
	}
	f.Add([]byte("\x80\x02cA\nB\n)R}(X\x01\x00\x00\x00aK\x01ub(K\x01K\x02e."))
	f.Fuzz(func(t *testing.T, text []byte) {
		v, _, err := pickle.Decode(bufio.NewReader(bytes.NewReader(text)))
		if err != nil {
			return
		}
		out, err := pickle.Encode(v)
		if err != nil {
			return
		}
		w, n, err := pickle.Decode(bufio.NewReader(bytes.NewReader(out)))
		if err != nil || n != int64(len(out)) {
			t.Fatalf("what was written is not read: %v", err)
		}
		again, err := pickle.Encode(w)
		if err != nil || !bytes.Equal(out, again) {
			t.Fatalf("written again, it has other bytes: %v\n%q\n%q", err, out, again)
		}
	})
}
