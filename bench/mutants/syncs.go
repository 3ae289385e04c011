package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// durable are the rooms that promise that something is on disk.
var durable = []string{"workspace", "ledger/segment", "teach/dataset", "teach/reference", "student/train", "student/export"}

// syncNames are the functions by which they keep the promise. The bodies of our
// own wrappers hold such calls too.
var syncNames = []string{"Sync", "SyncDir", "syncDir", "SyncData", "sync"}

// lostSyncs makes a mutant of every call that makes something durable: the call
// is gone, and the program is told that it went well.
func lostSyncs(root string) ([]mutant, error) {
	var out []mutant
	for _, room := range durable {
		files, err := filepath.Glob(filepath.Join(root, room, "*.go"))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if strings.HasSuffix(file, "_test.go") || strings.HasSuffix(file, "_windows.go") {
				continue
			}
			found, err := lostSyncsOf(root, file)
			if err != nil {
				return nil, err
			}
			out = append(out, found...)
		}
	}
	return out, nil
}

func lostSyncsOf(root, file string) ([]mutant, error) {
	source, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	tree, err := parser.ParseFile(fset, file, source, 0)
	if err != nil {
		return nil, err
	}
	name, err := filepath.Rel(root, file)
	if err != nil {
		return nil, err
	}
	var out []mutant
	ast.Inspect(tree, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || !slices.Contains(syncNames, called(call)) {
			return true
		}
		from, to := fset.Position(call.Pos()), fset.Position(call.End())
		// The arguments are still used, so that the mutant compiles.
		args := make([]string, 0, len(call.Args))
		for _, a := range call.Args {
			args = append(args, string(source[fset.Position(a.Pos()).Offset:fset.Position(a.End()).Offset]))
		}
		lost := "func(...any) error { return nil }(" + strings.Join(args, ", ") + ")"
		out = append(out, mutant{
			file:   filepath.ToSlash(name),
			what:   fmt.Sprintf("line %d: %s is not done", from.Line, source[from.Offset:to.Offset]),
			source: slices.Concat(source[:from.Offset], []byte(lost), source[to.Offset:]),
		})
		return true
	})
	return out, nil
}

// called is the name of the function or method that is called.
func called(c *ast.CallExpr) string {
	switch f := c.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}
