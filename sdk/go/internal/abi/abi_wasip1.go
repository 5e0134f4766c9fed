// Package abi is the component model's canonical ABI, as far as tidegate:policy needs it. Pointers are
// 32 bits wide outside Go, 64 inside; lists and records are laid out in words of 4 bytes.
//
// Who keeps memory alive: what the gateway allocates for arguments is held from cabi_realloc until
// Done, and by the Go strings that Text makes of it after that. What an answer points to is held until
// the next call begins; the gateway has read it by then, so there is nothing to do after the return.
package abi

import "unsafe"

// Arguments of the call that is being prepared, or of a running call's imports.
var arguments []unsafe.Pointer

// What the last answer points to.
var answer []unsafe.Pointer

// The last answer itself: no answer of tidegate:policy is larger.
var area [6]uint64

//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uint32) uint32 {
	if size == 0 {
		return align
	}
	fresh := allocate(align, size)
	if oldSize > 0 {
		copy(unsafe.Slice((*byte)(fresh), size), unsafe.Slice((*byte)(old), oldSize))
	}
	arguments = append(arguments, fresh)
	return address(fresh)
}

func allocate(align, size uint32) unsafe.Pointer {
	if align <= 1 {
		return unsafe.Pointer(unsafe.SliceData(make([]byte, size)))
	}
	return unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
}

func address(p unsafe.Pointer) uint32 { return uint32(uintptr(p)) }

func pointer(address uint32) unsafe.Pointer { return unsafe.Add(unsafe.Pointer(nil), address) }

// Done lets go of the arguments: everything needed of them has been made Go values.
func Done() {
	clear(arguments)
	arguments = arguments[:0]
}

// Text is an argument's text. It may be kept: it has memory of its own.
func Text(at, length uint32) string {
	if length == 0 {
		return ""
	}
	return unsafe.String((*byte)(pointer(at)), length)
}

// Words are the words of a list of records.
func Words(at, length, wordsEach uint32) []uint32 {
	if length == 0 {
		return nil
	}
	return unsafe.Slice((*uint32)(pointer(at)), length*wordsEach)
}

// Answer begins an answer, letting go of the one before.
func Answer() {
	clear(answer)
	answer = answer[:0]
	area = [6]uint64{}
}

// Address is where the answer is.
func Address() uint32 { return address(unsafe.Pointer(&area)) }

// Put writes a word of the answer. Narrower values are written the same way: the rest is padding.
func Put(word int, value uint32) {
	(*[12]uint32)(unsafe.Pointer(&area))[word] = value
}

// PutWide writes a word of 8 bytes at an even position.
func PutWide(word int, value uint64) { area[word/2] = value }

// PutText writes the two words of a text.
func PutText(word int, text string) {
	at, length := Held(text)
	Put(word, at)
	Put(word+1, length)
}

// PutList writes the two words of a list.
func PutList(word int, list []uint32, wordsEach int) {
	at, length := HeldList(list, wordsEach)
	Put(word, at)
	Put(word+1, length)
}

// Held is a text as part of the answer: pointer and length.
func Held(text string) (at, length uint32) {
	if text == "" {
		return 0, 0
	}
	p := unsafe.Pointer(unsafe.StringData(text))
	answer = append(answer, p)
	return address(p), uint32(len(text))
}

// HeldList is a list of records, given as words, as part of the answer: pointer and length.
func HeldList(words []uint32, wordsEach int) (at, length uint32) {
	if len(words) == 0 {
		return 0, 0
	}
	p := unsafe.Pointer(unsafe.SliceData(words))
	answer = append(answer, p)
	return address(p), uint32(len(words) / wordsEach)
}
