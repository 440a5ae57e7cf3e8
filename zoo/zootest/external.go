package zootest

import (
	"fmt"
	"strconv"

	"google.golang.org/protobuf/encoding/protowire"
)

// External moves the weights of an ONNX file that have at least that many bytes into a second file, external data at a
// location relative to the model's folder. What that file holds already, another model's weights, stays before them.
func External(data []byte, location string, least int, before ...byte) (model, weights []byte, err error) {
	const graph, initializer, raw, externalData, dataLocation = 7, 5, 9, 13, 14
	weights = before
	model, err = rewrite(data, graph, func(g []byte) ([]byte, error) {
		return rewrite(g, initializer, func(t []byte) ([]byte, error) {
			var moved []byte
			rest, err := each(t, func(number protowire.Number, field, content []byte) ([]byte, error) {
				if number == raw && len(content) >= least {
					moved = content
					return nil, nil
				}
				return field, nil
			})
			if err != nil || moved == nil {
				return rest, err
			}
			for _, e := range [][2]string{{"location", location}, {"offset", strconv.Itoa(len(weights))}, {"length", strconv.Itoa(len(moved))}} {
				entry := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), e[0])
				entry = protowire.AppendString(protowire.AppendTag(entry, 2, protowire.BytesType), e[1])
				rest = protowire.AppendBytes(protowire.AppendTag(rest, externalData, protowire.BytesType), entry)
			}
			weights = append(weights, moved...)
			return protowire.AppendVarint(protowire.AppendTag(rest, dataLocation, protowire.VarintType), 1), nil
		})
	})
	return model, weights, err
}

// rewrite makes the messages in one field of a message anew.
func rewrite(message []byte, number protowire.Number, f func([]byte) ([]byte, error)) ([]byte, error) {
	return each(message, func(n protowire.Number, field, content []byte) ([]byte, error) {
		if n != number {
			return field, nil
		}
		inner, err := f(content)
		return protowire.AppendBytes(protowire.AppendTag(nil, n, protowire.BytesType), inner), err
	})
}

// each calls f for every field of a message, with all of it and with its content if it is length-delimited, and puts
// together what it returns.
func each(message []byte, f func(number protowire.Number, field, content []byte) ([]byte, error)) (out []byte, err error) {
	for len(message) > 0 {
		number, kind, tag := protowire.ConsumeTag(message)
		if tag < 0 {
			return nil, fmt.Errorf("external: %w", protowire.ParseError(tag))
		}
		n := protowire.ConsumeFieldValue(number, kind, message[tag:])
		if n < 0 {
			return nil, fmt.Errorf("external: %w", protowire.ParseError(n))
		}
		var content []byte
		if kind == protowire.BytesType {
			content, _ = protowire.ConsumeBytes(message[tag:])
		}
		made, err := f(number, message[:tag+n], content)
		if err != nil {
			return nil, err
		}
		out, message = append(out, made...), message[tag+n:]
	}
	return out, nil
}
