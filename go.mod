module github.com/zoofold/zoofold

go 1.26
