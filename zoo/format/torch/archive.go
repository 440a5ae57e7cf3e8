package torch

import (
	"fmt"
	"os"
	"strings"

	"github.com/zoofold/zoofold/zoo/format"
	"github.com/zoofold/zoofold/zoo/format/jsontext"
	"github.com/zoofold/zoofold/zoo/format/zipped"
)

// member is one file of the archive.
type member = zipped.Member

// archive is an open .pt2 file.
type archive struct{ *zipped.Archive }

func openArchive(f *os.File) (archive, error) {
	a, err := zipped.Open(f)
	return archive{a}, err
}

// json is a member that is JSON.
func (a archive) json(name string) (*jsontext.Value, error) {
	text, err := a.Text(name)
	if err != nil {
		return nil, err
	}
	v, err := jsontext.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return v, nil
}

// program is the name of the one program in the archive.
func (a archive) program() (string, error) {
	if a.Named("byteorder") != nil {
		switch order, err := a.Text("byteorder"); {
		case err != nil:
			return "", err
		case order != "little":
			return "", fmt.Errorf("the byte order is %.20q, only little is read: %w", order, format.ErrLimit)
		}
	}
	var names []string
	for _, m := range a.Members {
		if name, ok := strings.CutPrefix(m.Path, "models/"); ok {
			if name, ok = strings.CutSuffix(name, ".json"); ok {
				names = append(names, name)
			}
		}
	}
	switch {
	case len(names) == 1:
		return names[0], nil
	case len(names) > 1:
		return "", fmt.Errorf("the archive holds %d programs: save each in a file of its own with torch.export.save: %w", len(names), format.ErrLimit)
	case a.Named("serialized_exported_program.json") != nil || a.Named("version") != nil && a.Named("data.pkl") == nil:
		return "", fmt.Errorf("the archive is in the form of an older PyTorch: load it with torch.export.load and save it again with a newer one: %w", format.ErrLimit)
	case a.Named("data.pkl") != nil:
		return "", fmt.Errorf("a file of torch.save, with weights but without a graph: export the model with torch.export.save: %w", format.ErrCorrupt)
	}
	return "", fmt.Errorf("the archive has no program, models/NAME.json: compiled packages cannot be folded, export the model with torch.export.save: %w", format.ErrCorrupt)
}
