package hdf5

// referenceSize is the size of the reference that an element of variable length is stored as: its length, and its place in
// the global heap.
const referenceSize = 16

// strings reads the texts that references stand for.
func (f *file) strings(c *cursor) ([]string, error) {
	list := make([]string, 0, c.left()/referenceSize)
	for c.left() > 0 {
		at, length, collection, index := c.pos(), int64(c.u32()), c.address(), c.u32()
		if collection == 0 || collection == undefined { // no text was ever written
			list = append(list, "")
			continue
		}
		s, err := f.heapObject(at, collection, index)
		if err != nil {
			return nil, err
		}
		if length > s.size {
			return nil, corrupt(at, "text of %d bytes, the heap has %d", length, s.size)
		}
		b, err := f.block(s.at, length)
		if err != nil {
			return nil, err
		}
		list = append(list, string(b.b))
	}
	return list, nil
}

// heapObject is where an object of a collection of the global heap lies (III.E).
func (f *file) heapObject(from, collection int64, index uint32) (span, error) {
	objects, ok := f.heaps[collection]
	if !ok {
		var err error
		if objects, err = f.collection(collection); err != nil {
			return span{}, err
		}
		f.heaps[collection] = objects
	}
	s, ok := objects[index]
	if !ok {
		return span{}, corrupt(from, "object %d of the global heap at byte %d is not there", index, collection)
	}
	return s, nil
}

// collection finds the objects of a collection of the global heap, by their index.
func (f *file) collection(at int64) (map[uint32]span, error) {
	const head = 16 // of the collection, and of each object
	c, err := f.block(at, head)
	if err != nil {
		return nil, err
	}
	c.magic("GCOL")
	c.version(1)
	c.skip(3)
	size := c.length()
	if err := c.err("global heap"); err != nil {
		return nil, err
	}
	if size > f.size-at {
		return nil, corrupt(at, "a global heap of %d bytes, %d remain", size, f.size-at)
	}
	objects := map[uint32]span{}
	for next := at + head; next <= at+size-head; {
		c, err := f.block(next, head)
		if err != nil {
			return nil, err
		}
		index := uint32(c.u16())
		c.skip(6)
		length := c.length()
		if err := c.err("global heap"); err != nil {
			return nil, err
		}
		if index == 0 { // free space, its head included
			next += max(length, head)
			continue
		}
		if length > at+size-next-head {
			return nil, corrupt(next, "%d bytes in a global heap, %d remain", length, at+size-next-head)
		}
		objects[index] = span{next + head, length}
		next += head + length + -length&7
	}
	return objects, nil
}
