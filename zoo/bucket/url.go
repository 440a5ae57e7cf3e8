// Package bucket is where zoofold reads and changes object storage: S3 and what speaks its protocol, Google Cloud Storage and
// Azure Blob Storage, through gocloud.dev/blob.
//
// A Folder is a prefix of a bucket as it was when it was listed. Everything it does is conditional on that: an object is read
// if it still is the one of the list, replaced if it is, and made if there is none. So two writers cannot interleave, and what
// was found of a file holds for as long as the Folder says so. Requests that fail for a reason that may pass are repeated.
//
// Where the formats need files, a Cache brings objects to a folder of the host, whole or not at all.
package bucket

import (
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// ErrURL says that a URL names no folder in a bucket, or says what it must not.
var ErrURL = errors.New("not a URL of a folder in a bucket")

// URL names a folder in a bucket.
type URL struct {
	Scheme string // of Schemes
	Bucket string // Azure's: the container
	Prefix string // without slashes at its ends; "" for the whole bucket
	Region string // S3's, "" for that of the environment
}

// Schemes are those of URLs that name buckets.
var Schemes = []string{"s3", "gs", "azblob"}

// IsURL says whether a text is rather a URL than a path.
func IsURL(text string) bool {
	scheme, _, ok := strings.Cut(text, "://")
	return ok && scheme != "" && !strings.ContainsAny(scheme, `/\.`)
}

// Parse reads a URL: s3://bucket/folder. Who may read and where the service is say the environment and the files that the
// service's own tools read, never a URL: a manifest is no place for secrets. The one thing that it may say besides is
// ?region= of S3, since two buckets may be in two regions.
func Parse(text string) (u URL, err error) {
	parsed, err := url.Parse(text)
	if err != nil {
		return u, fmt.Errorf("%w: it cannot be read", ErrURL) // url's error has the text in it, and so perhaps a password
	}
	u = URL{Scheme: parsed.Scheme, Bucket: parsed.Host, Prefix: strings.Trim(parsed.Path, "/")}
	query, err := url.ParseQuery(parsed.RawQuery)
	switch {
	case !slices.Contains(Schemes, u.Scheme):
		return u, fmt.Errorf("%w: its scheme is none of %s, file", ErrURL, strings.Join(Schemes, ", "))
	case parsed.User != nil:
		return u, fmt.Errorf("%w: credentials come from the environment, never from a URL; remove what stands before the @", ErrURL)
	case err != nil || parsed.Fragment != "" || strings.Contains(text, "#"):
		return u, fmt.Errorf("%w: ? and # are written %%3F and %%23 in it", ErrURL)
	case u.Bucket == "":
		return u, fmt.Errorf("%w: the bucket's name is missing: %s://BUCKET/FOLDER", ErrURL, u.Scheme)
	case u.Prefix != "" && path.Clean(u.Prefix) != u.Prefix || strings.HasPrefix(u.Prefix, "../") || u.Prefix == "..":
		return u, fmt.Errorf("%w: its path has empty elements, . or .. in it", ErrURL)
	}
	for key, values := range query {
		if key != "region" || u.Scheme != "s3" || len(values) != 1 || values[0] == "" {
			return u, fmt.Errorf("%w: ?%s= has no place in it: what leads to the service and its credentials is taken from the environment (?region= of s3 alone is known)", ErrURL, key)
		}
		u.Region = values[0]
	}
	return u, nil
}

// File is the path that a file URL names; ok is false where the text is no file URL. Such a folder is one of the host.
func File(text string) (path string, ok bool, err error) {
	if !strings.HasPrefix(text, "file:") {
		return "", false, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return "", true, fmt.Errorf("%w: it cannot be read", ErrURL)
	case u.Host != "" && u.Host != "localhost" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || !strings.HasPrefix(u.Path, "/"):
		return "", true, fmt.Errorf("%w: a folder of this host is written file:///PATH, and nothing else", ErrURL)
	}
	return filepath.FromSlash(u.Path), true, nil
}

// String is the URL as it is written, without the region.
func (u URL) String() string {
	return strings.TrimSuffix(u.Scheme+"://"+u.Bucket+"/"+u.Prefix, "/")
}

// Text is the URL as Parse reads it, without the region.
func (u URL) Text() string {
	return strings.TrimSuffix((&url.URL{Scheme: u.Scheme, Host: u.Bucket, Path: "/" + u.Prefix}).String(), "/")
}

// Path stands for the folder where paths of files are put together: /s3:/bucket/folder. No file of the host has such a path,
// for every operation on it goes to the bucket.
func (u URL) Path() string {
	return filepath.Join(string(filepath.Separator), u.Scheme+":", u.Bucket, filepath.FromSlash(u.Prefix))
}

// Overlaps says whether one of two folders is the other or lies in it.
func (u URL) Overlaps(v URL) bool { return u.Holds(v) || v.Holds(u) }

// Holds says whether another folder is this one or lies in it.
func (u URL) Holds(v URL) bool {
	within := u.Prefix == "" || v.Prefix == u.Prefix || strings.HasPrefix(v.Prefix, u.Prefix+"/")
	return u.Scheme == v.Scheme && u.Bucket == v.Bucket && within
}

// Shown is a text for people, in which paths in a bucket are URLs again.
func Shown(text string) string {
	for _, scheme := range Schemes {
		root := string(filepath.Separator) + scheme + ":" + string(filepath.Separator)
		text = strings.ReplaceAll(text, root, scheme+"://")
	}
	return text
}
