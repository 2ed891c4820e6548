# One long-lived connection of fog-aws; see ../README.md for what it reads and prints.

require "fog/aws"
require "json"
require "uri"

# use_iam_profile is how a user asks it for anything but keys of one's own.
def storage
  endpoint = URI(ENV.fetch("CLIENT_ENDPOINT"))
  @storage ||= Fog::Storage.new(
    provider: "AWS", use_iam_profile: true, region: ENV.fetch("AWS_REGION"), path_style: true,
    scheme: endpoint.scheme, host: endpoint.host, port: endpoint.port
  )
end

$stdout.sync = true
while $stdin.gets
  begin
    storage.head_object(ENV.fetch("CLIENT_BUCKET"), "hello")
    puts JSON.generate(ok: true)
  rescue StandardError => error
    @storage = nil
    puts JSON.generate(ok: false, error: "#{error.class}: #{error.message}")
  end
end
