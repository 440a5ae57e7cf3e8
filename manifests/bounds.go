package manifests

import (
	"fmt"
	"strings"

	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/token"
)

// Bounds of a manifest's text. The YAML parser's time and memory grow with the square of what they bound, or its stack
// grows with it: for 40,000 "[" it takes 2.4 GiB.
const (
	maxSize   = 256 << 10 // bytes of a manifest: over a thousand rules
	maxLine   = 16 << 10  // bytes of a line
	maxBlank  = 100       // blank lines in a row: the parser removes each separately from the end of a literal
	maxDepth  = 32        // levels of lists and mappings
	maxKey    = 64        // bytes of a key: the parser keeps the path of keys with every value
	maxKeys   = 64        // keys of a mapping: each is a nested call in the parser
	maxErrors = 50        // errors that are shown

	maxIncluded = 64 // files that a manifest includes
)

// tokenize splits a text into tokens for the parser. It fails at the first place that exceeds a bound.
func (f *source) tokenize(data []byte) (token.Tokens, bool) {
	if !f.linesInBounds() {
		return nil, false
	}
	tokens := lexer.Tokenize(string(data))
	if tokens.InvalidToken() != nil {
		return tokens, true // the parser reports the error at once
	}
	var n nesting
	for _, t := range tokens {
		if why := n.next(t); why != "" {
			f.fail(at(t), "%s", why)
			return nil, false
		}
	}
	return tokens, true
}

// linesInBounds says whether the scanner can read all lines in linear time.
func (f *source) linesInBounds() bool {
	blank := 0
	for k, line := range f.lines {
		line = strings.TrimSuffix(line, "\r")
		if blank++; strings.TrimSpace(line) != "" {
			blank = 0
		}
		why := ""
		switch column := strings.IndexByte(line, '\r'); {
		case column >= 0:
			why = "a carriage return within a line: end lines with a line feed"
		case len(line) > maxLine:
			why = fmt.Sprintf("a line of more than %d bytes: break it", maxLine)
		case blank > maxBlank:
			why = fmt.Sprintf("more than %d blank lines in a row", maxBlank)
		}
		if why != "" {
			f.fail(spot{k + 1, 1}, "%s", why)
			return false
		}
	}
	return true
}

// nesting tracks the lists and mappings around a token.
type nesting struct {
	brackets int
	blocks   []block // from the outermost
	started  bool    // the document has begun
	ended    bool    // and was closed with three dots
}

// block is a list or mapping without brackets. It ends at a token farther to the left.
type block struct{ column, keys int }

// next takes a token, and returns what is wrong with it, or "".
func (n *nesting) next(t *token.Token) string {
	switch t.Type {
	case token.SequenceStartType, token.MappingStartType:
		n.brackets++
	case token.SequenceEndType, token.MappingEndType:
		n.brackets = max(n.brackets-1, 0)
	case token.SequenceEntryType:
		if n.brackets > 0 {
			return "a dash within brackets: separate the items with commas"
		}
		n.enter(t.Position.Column)
	case token.MappingValueType:
		if why := n.key(t); why != "" {
			return why
		}
	case token.AliasType:
		return `* without quotes is an alias: quote globs: "**/*.onnx"`
	case token.AnchorType, token.TagType, token.MergeKeyType, token.MappingKeyType:
		return "anchors, aliases and tags are not used in manifests: write the value out"
	}
	if n.second(t.Type) {
		return "a second document: a manifest is one"
	}
	if n.brackets+len(n.blocks) > maxDepth {
		return fmt.Sprintf("nested more than %d levels deep", maxDepth)
	}
	return ""
}

// second says whether a token begins another document.
func (n *nesting) second(t token.Type) bool {
	switch t {
	case token.CommentType, token.DirectiveType:
		return false
	case token.DocumentEndType:
		n.ended = true
		return false
	}
	again := n.ended || n.started && t == token.DocumentHeaderType
	n.started = true
	return again
}

// key takes a key, by the colon behind it.
func (n *nesting) key(colon *token.Token) string {
	column := colon.Position.Column
	if key := colon.Prev; key != nil {
		if len(key.Value) > maxKey {
			return fmt.Sprintf("a key of more than %d bytes", maxKey)
		}
		if key.Position.Line == colon.Position.Line {
			column = key.Position.Column
		}
	}
	if n.brackets > 0 {
		return ""
	}
	n.enter(column)
	last := &n.blocks[len(n.blocks)-1]
	if last.keys++; last.keys > maxKeys {
		return fmt.Sprintf("more than %d keys in one mapping", maxKeys)
	}
	return ""
}

// enter goes to the block at a column.
func (n *nesting) enter(column int) {
	for len(n.blocks) > 0 && n.blocks[len(n.blocks)-1].column > column {
		n.blocks = n.blocks[:len(n.blocks)-1]
	}
	if len(n.blocks) == 0 || n.blocks[len(n.blocks)-1].column < column {
		n.blocks = append(n.blocks, block{column: column})
	}
}
