// Command peerstub lets a CUDA build of PyTorch be imported on a machine without
// the CUDA libraries, which weigh several gigabytes and do nothing on a CPU.
//
// The plain torch wheel for Linux needs them at load time only: it looks up
// their symbols, and calls none of them as long as no GPU is used. For each
// library that the .so files under a directory need and nobody provides,
// peerstub writes a small ELF file beside them that defines the missing symbols,
// in the versions asked for, as addresses that trap when called.
//
//	peerstub DIR   (DIR is site-packages/torch/lib)
//
// Only x86-64 Linux needs it. It is bench's and not part of the product.
package main

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: peerstub DIR")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "peerstub:", err)
		os.Exit(1)
	}
}

// wanted are the symbols of one missing library, by version.
type wanted map[string]map[string]bool

// stubbed are the beginnings of the names of CUDA's libraries; a missing library
// of another name is a broken installation and stays one.
var stubbed = []string{"libcublas", "libcudnn", "libcufft", "libcufile", "libcupti", "libcurand", "libcusolver", "libcusparse",
	"libnccl", "libnvrtc", "libnvshmem", "libnvJitLink", "libcudart", "libnvToolsExt"}

func run(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.so*"))
	if err != nil || len(files) == 0 {
		return fmt.Errorf("there are no shared objects in %s", dir)
	}
	missing := map[string]wanted{}
	for _, path := range files {
		if err := collect(path, dir, missing); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	for name, symbols := range missing {
		if err := os.WriteFile(filepath.Join(dir, name), stub(name, symbols), 0o755); err != nil {
			return err
		}
	}
	fmt.Fprintf(os.Stderr, "peerstub: %d libraries in %s\n", len(missing), dir)
	return nil
}

// collect adds what one shared object needs of CUDA's libraries that are not
// installed.
func collect(path, dir string, missing map[string]wanted) error {
	f, err := elf.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	needed, err := f.ImportedLibraries()
	if err != nil {
		return err
	}
	for _, lib := range needed {
		if isCUDA(lib) && !installed(lib, dir) && missing[lib] == nil {
			missing[lib] = wanted{}
		}
	}
	symbols, err := f.ImportedSymbols()
	if err != nil {
		return err
	}
	for _, s := range symbols {
		if s.Library == "" {
			s.Library = guess(s.Name, needed)
		}
		if w := missing[s.Library]; w != nil {
			if w[s.Version] == nil {
				w[s.Version] = map[string]bool{}
			}
			w[s.Version][s.Name] = true
		}
	}
	return nil
}

// guess finds the library of a symbol without a version by its name: cuSPARSELt's
// begin with cusparseLt.
func guess(symbol string, needed []string) string {
	best, longest := "", 0
	for _, lib := range needed {
		stem, _, _ := strings.Cut(strings.TrimPrefix(lib, "lib"), ".")
		stem = strings.TrimSuffix(stem, "_host")
		if isCUDA(lib) && len(stem) > longest && strings.HasPrefix(strings.ToLower(symbol), strings.ToLower(stem)) {
			best, longest = lib, len(stem)
		}
	}
	return best
}

func isCUDA(lib string) bool {
	for _, prefix := range stubbed {
		if strings.HasPrefix(lib, prefix) {
			return true
		}
	}
	return false
}

// installed looks where the loader would: beside torch and in NVIDIA's packages.
func installed(lib, dir string) bool {
	for _, pattern := range []string{filepath.Join(dir, lib), filepath.Join(dir, "..", "..", "nvidia", "*", "lib", lib)} {
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return true
		}
	}
	return false
}

const page = 0x1000

// stub lays out a minimal shared object: one read-only segment with headers,
// dynamic section, symbols and versions, and a second of zeros, executable
// nowhere, that every symbol points to.
func stub(soname string, symbols wanted) []byte {
	le := binary.LittleEndian
	strtab := []byte{0}
	str := func(s string) uint32 {
		at := uint32(len(strtab))
		strtab = append(append(strtab, s...), 0)
		return at
	}
	sonameAt := str(soname)
	versions := make([]string, 0, len(symbols))
	for v := range symbols {
		if v != "" {
			versions = append(versions, v)
		}
	}
	sort.Strings(versions)
	type symbol struct {
		name    string
		version uint16
	}
	var list []symbol
	add := func(version string, index uint16) {
		names := make([]string, 0, len(symbols[version]))
		for n := range symbols[version] {
			names = append(names, n)
		}
		sort.Strings(names)
		for _, n := range names {
			list = append(list, symbol{n, index})
		}
	}
	add("", 1)
	for i, v := range versions {
		add(v, uint16(i+2))
	}

	// Symbols all lie in the zeros behind the file's one page-aligned image.
	const dataSize = 64 << 10 // one of them is a variable; it must not share what follows
	symtab := make([]byte, 24, 24*(len(list)+1))
	versym := make([]byte, 2, 2*(len(list)+1))
	for _, s := range list {
		symtab = le.AppendUint32(symtab, str(s.name))
		symtab = append(symtab, byte(elf.STB_GLOBAL)<<4|byte(elf.STT_OBJECT), 0)
		symtab = le.AppendUint16(symtab, 1) // any defined section
		symtab = le.AppendUint64(symtab, 0) // value: patched below
		symtab = le.AppendUint64(symtab, dataSize)
		versym = le.AppendUint16(versym, s.version)
	}
	verdef := versionDefinitions(soname, versions, str)
	names := make([]string, len(list))
	for i, s := range list {
		names[i] = s.name
	}
	hash := hashTable(names)

	// Placement: ELF header, program headers, then the tables, 8-aligned.
	at := uint64(64 + 3*56)
	place := func(b []byte) uint64 {
		here := (at + 7) &^ 7
		at = here + uint64(len(b))
		return here
	}
	hashAt, symAt, verAt, defAt, strAt := place(hash), place(symtab), place(versym), place(verdef), place(strtab)
	var dyn []byte
	tag := func(t elf.DynTag, v uint64) {
		dyn = le.AppendUint64(dyn, uint64(t))
		dyn = le.AppendUint64(dyn, v)
	}
	tag(elf.DT_SONAME, uint64(sonameAt))
	tag(elf.DT_HASH, hashAt)
	tag(elf.DT_SYMTAB, symAt)
	tag(elf.DT_SYMENT, 24)
	tag(elf.DT_STRTAB, strAt)
	tag(elf.DT_STRSZ, uint64(len(strtab)))
	tag(elf.DT_VERSYM, verAt)
	tag(elf.DT_VERDEF, defAt)
	tag(elf.DT_VERDEFNUM, uint64(len(versions)+1))
	tag(elf.DT_NULL, 0)
	dynAt := place(dyn)
	end := at
	data := (end + page - 1) &^ (page - 1)
	for i := range list {
		le.PutUint64(symtab[24*(i+1)+8:], data)
	}

	image := make([]byte, end)
	copy(image, header())
	program(image[64:], elf.PT_LOAD, elf.PF_R|elf.PF_W, 0, end, end)
	program(image[64+56:], elf.PT_LOAD, elf.PF_R|elf.PF_W, data, 0, 2*dataSize)
	program(image[64+112:], elf.PT_DYNAMIC, elf.PF_R|elf.PF_W, dynAt, uint64(len(dyn)), uint64(len(dyn)))
	for _, part := range []struct {
		at uint64
		b  []byte
	}{{hashAt, hash}, {symAt, symtab}, {verAt, versym}, {defAt, verdef}, {strAt, strtab}, {dynAt, dyn}} {
		copy(image[part.at:], part.b)
	}
	// The second segment has no bytes in the file, but its offset must exist.
	return append(image, make([]byte, data-end)...)
}

// header is the ELF header of a 64-bit x86-64 shared object with 3 program
// headers and no sections.
func header() []byte {
	h := elf.Header64{
		Type: uint16(elf.ET_DYN), Machine: uint16(elf.EM_X86_64), Version: 1,
		Phoff: 64, Ehsize: 64, Phentsize: 56, Phnum: 3, Shentsize: 64,
	}
	copy(h.Ident[:], []byte{0x7f, 'E', 'L', 'F', byte(elf.ELFCLASS64), byte(elf.ELFDATA2LSB), 1})
	return encode(h)
}

func program(at []byte, typ elf.ProgType, flags elf.ProgFlag, addr, inFile, inMemory uint64) {
	copy(at, encode(elf.Prog64{Type: uint32(typ), Flags: uint32(flags), Off: addr, Vaddr: addr, Paddr: addr, Filesz: inFile, Memsz: inMemory, Align: page}))
}

func encode(v any) []byte {
	var b bytes.Buffer
	binary.Write(&b, binary.LittleEndian, v) // to memory, of fixed size: cannot fail
	return b.Bytes()
}

// versionDefinitions is the table of versions that the library defines: itself
// as the base, number 1, and then the given ones.
func versionDefinitions(soname string, versions []string, str func(string) uint32) []byte {
	var b []byte
	le := binary.LittleEndian
	all := append([]string{soname}, versions...)
	for i, v := range all {
		flags, next := uint16(0), uint32(28)
		if i == 0 {
			flags = 1 // the base
		}
		if i == len(all)-1 {
			next = 0
		}
		b = le.AppendUint16(b, 1)
		b = le.AppendUint16(b, flags)
		b = le.AppendUint16(b, uint16(i+1))
		b = le.AppendUint16(b, 1)
		b = le.AppendUint32(b, sysvHash(v))
		b = le.AppendUint32(b, 20) // to its name
		b = le.AppendUint32(b, next)
		b = le.AppendUint32(b, str(v))
		b = le.AppendUint32(b, 0)
	}
	return b
}

// hashTable is the System V hash table of symbols 1 to len(names).
func hashTable(names []string) []byte {
	buckets := make([]uint32, max(len(names), 1))
	chain := make([]uint32, len(names)+1)
	for i, n := range names {
		k := sysvHash(n) % uint32(len(buckets))
		chain[i+1], buckets[k] = buckets[k], uint32(i+1)
	}
	return encode(append(append([]uint32{uint32(len(buckets)), uint32(len(chain))}, buckets...), chain...))
}

func sysvHash(s string) uint32 {
	var h uint32
	for i := range len(s) {
		h = h<<4 + uint32(s[i])
		g := h & 0xf0000000
		h ^= g >> 24
		h &^= g
	}
	return h
}
