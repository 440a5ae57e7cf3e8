//go:build buckets

package bucket

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob"
	azureblobs "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go/logging"
	"gocloud.dev/blob"
	"gocloud.dev/blob/azureblob"
	"gocloud.dev/blob/gcsblob"
	"gocloud.dev/blob/s3blob"
	"google.golang.org/api/googleapi"
)

// Built says whether this build has the drivers of buckets.
const Built = true

// open opens a bucket with what the environment says of the service and its credentials.
func open(ctx context.Context, u URL) (service, error) {
	switch u.Scheme {
	case "s3":
		return openS3(ctx, u)
	case "gs":
		return openGoogle(ctx, u)
	case "azblob":
		return openAzure(ctx, u)
	}
	return service{}, fmt.Errorf("%w: its scheme is %s", ErrURL, u.Scheme)
}

// openS3 opens a bucket of S3, or of a service that speaks its protocol and that AWS_ENDPOINT_URL names. Such a service
// mostly has no names of hosts for buckets: they are asked for by path then.
func openS3(ctx context.Context, u URL) (s service, err error) {
	client := awshttp.NewBuildableClient().WithTransportOptions(func(t *http.Transport) { t.ResponseHeaderTimeout = usual.stall })
	options := []func(*config.LoadOptions) error{
		config.WithRetryer(func() aws.Retryer { return aws.NopRetryer{} }), // a Folder does that, for all services alike
		config.WithHTTPClient(client), config.WithLogger(logging.Nop{}),
	}
	if u.Region != "" {
		options = append(options, config.WithRegion(u.Region))
	}
	c, err := config.LoadDefaultConfig(ctx, options...)
	if err != nil {
		return s, err
	}
	if c.Region == "" {
		c.Region = "us-east-1" // S3 names the right one if it is not
	}
	if _, err := c.Credentials.Retrieve(ctx); err != nil {
		return s, fmt.Errorf("no credentials were found where the AWS tools look for them: %w", err)
	}
	elsewhere := c.BaseEndpoint != nil || os.Getenv("AWS_ENDPOINT_URL_S3") != "" || os.Getenv("AWS_ENDPOINT_URL") != ""
	api := s3.NewFromConfig(c, func(o *s3.Options) { o.UsePathStyle = elsewhere })
	s.Bucket, err = s3blob.OpenBucket(ctx, api, u.Bucket, &s3blob.Options{RequestChecksumCalculation: c.RequestChecksumCalculation})
	s.listed = func(o *blob.ListObject) string {
		var x types.Object
		o.As(&x)
		return aws.ToString(x.ETag)
	}
	s.read = func(r *blob.Reader) string {
		var x s3.GetObjectOutput
		r.As(&x)
		return aws.ToString(x.ETag)
	}
	s.replace = func(as func(any) bool, version string) error {
		var x *transfermanager.UploadObjectInput
		if !as(&x) {
			return errDriver
		}
		x.IfMatch = aws.String(`"` + version + `"`)
		return nil
	}
	s.abandon = func(ctx context.Context, key string, err error) error {
		var x transfermanager.MultipartUploadError
		if !errors.As(err, &x) {
			return nil
		}
		_, err = api.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &u.Bucket, Key: &key, UploadId: aws.String(x.UploadID())})
		var gone *types.NoSuchUpload
		if errors.As(err, &gone) {
			return nil
		}
		return err
	}
	s.after = func(err error) time.Duration {
		var x *awshttp.ResponseError
		if !errors.As(err, &x) || x.Response == nil {
			return 0
		}
		return retryAfter(x.Response.Header)
	}
	return s, err
}

// errDriver says that a driver has other types than it says.
var errDriver = errors.New("a bug of zoofold, please report it: the driver of the bucket takes no condition")

// openGoogle opens a bucket of Google Cloud Storage.
func openGoogle(ctx context.Context, u URL) (s service, err error) {
	s.Bucket, err = blob.OpenBucket(ctx, gcsblob.Scheme+"://"+u.Bucket)
	s.listed = func(o *blob.ListObject) string {
		var x storage.ObjectAttrs
		o.As(&x)
		return strconv.FormatInt(x.Generation, 10)
	}
	s.stated = func(a *blob.Attributes) string {
		var x storage.ObjectAttrs
		a.As(&x)
		return strconv.FormatInt(x.Generation, 10)
	}
	s.read = func(r *blob.Reader) string {
		var x *storage.Reader
		if !r.As(&x) {
			return ""
		}
		return strconv.FormatInt(x.Attrs.Generation, 10)
	}
	s.replace = func(as func(any) bool, version string) error {
		var x **storage.ObjectHandle
		generation, err := strconv.ParseInt(version, 10, 64)
		if err != nil || !as(&x) {
			return errors.Join(errDriver, err)
		}
		*x = (*x).If(storage.Conditions{GenerationMatch: generation})
		return nil
	}
	s.after = func(err error) time.Duration {
		var x *googleapi.Error
		if !errors.As(err, &x) {
			return 0
		}
		return retryAfter(x.Header)
	}
	return s, err
}

// openAzure opens a container of Azure Blob Storage.
func openAzure(ctx context.Context, u URL) (s service, err error) {
	s.Bucket, err = blob.OpenBucket(ctx, azureblob.Scheme+"://"+u.Bucket)
	s.listed = func(o *blob.ListObject) string {
		var x container.BlobItem
		if !o.As(&x) || x.Properties == nil || x.Properties.ETag == nil {
			return ""
		}
		return string(*x.Properties.ETag)
	}
	s.read = func(r *blob.Reader) string {
		var x azureblobs.DownloadStreamResponse
		if !r.As(&x) || x.ETag == nil {
			return ""
		}
		return string(*x.ETag)
	}
	s.replace = func(as func(any) bool, version string) error {
		var x *azblob.UploadStreamOptions
		if !as(&x) {
			return errDriver
		}
		tag := azcore.ETag(`"` + version + `"`)
		x.AccessConditions = &azblob.AccessConditions{ModifiedAccessConditions: &azureblobs.ModifiedAccessConditions{IfMatch: &tag}}
		return nil
	}
	s.after = func(err error) time.Duration {
		var x *azcore.ResponseError
		if !errors.As(err, &x) || x.RawResponse == nil {
			return 0
		}
		return retryAfter(x.RawResponse.Header)
	}
	return s, err
}

// retryAfter is in what time an answer wants to be asked again.
func retryAfter(h http.Header) time.Duration {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if seconds, err := strconv.Atoi(text); err == nil && seconds > 0 && seconds < 1<<20 {
		return time.Duration(seconds) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
