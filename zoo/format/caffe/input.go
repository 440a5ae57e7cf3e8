package caffe

import "slices"

// inputShape is the shape of top k of an input layer: −1 for extents that depend on the data, nil if nothing is known.
func (b *builder) inputShape(k int) []int64 {
	l := b.layer
	switch l.typ {
	case "Input", "DummyData":
		shapes := l.shapes
		p := b.params(map[string]string{"Input": "input_param", "DummyData": "dummy_data_param"}[l.typ])
		for _, f := range p.list("shape") {
			shapes = append(shapes, b.within(f).ints("dim"))
		}
		for k, n := range p.ints("num") { // as old DummyData layers have it
			old := []int64{n}
			for _, name := range []string{"channels", "height", "width"} {
				list := p.ints(name)
				old = append(old, append(list, 0, 0)[min(k, max(len(list)-1, 0))])
			}
			shapes = append(shapes, old)
		}
		if len(shapes) == 0 {
			return nil
		}
		return inputOf(shapes[min(k, len(shapes)-1)])
	case "MemoryData":
		p := b.params("memory_data_param")
		batch := p.int("batch_size", -1)
		if k > 0 {
			return []int64{batch}
		}
		return inputOf([]int64{batch, p.int("channels", -1), p.int("height", -1), p.int("width", -1)})
	case "Data", "ImageData", "AnnotatedData":
		return b.imageShape(k)
	}
	return nil
}

// imageShape is the shape of top k of a layer that reads images: the image, or its label.
func (b *builder) imageShape(k int) []int64 {
	l := b.layer
	p := b.params(map[string]string{"Data": "data_param", "ImageData": "image_data_param", "AnnotatedData": "data_param"}[l.typ])
	transform := b.params("transform_param")
	batch := p.int("batch_size", -1)
	switch {
	case k > 0 && l.typ == "AnnotatedData": // boxes: item, label, instance, four corners, difficult
		return []int64{1, 1, -1, 8}
	case k > 0:
		return []int64{batch}
	}
	out := []int64{batch, -1, p.int("new_height", -1), p.int("new_width", -1)}
	if f := transform.one("resize_param"); f != nil {
		resize := b.within(f)
		out[2], out[3] = resize.int("height", -1), resize.int("width", -1)
	}
	if crop := transform.int("crop_size", 0); crop > 0 {
		out[2], out[3] = crop, crop
	}
	switch means := transform.list("mean_value"); {
	case transform.bool("force_gray", false):
		out[1] = 1
	case transform.bool("force_color", false) || len(means) == 3:
		out[1] = 3
	}
	return inputOf(out)
}

// inputOf is the shape for the graph: senseless extents become free.
func inputOf(shape []int64) []int64 {
	if len(shape) > maxAxes {
		return nil
	}
	out := slices.Clone(shape)
	for k, d := range out {
		if d < 1 {
			out[k] = -1
		}
	}
	return out
}
