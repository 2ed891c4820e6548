import aws.sdk.kotlin.services.sts.StsClient
import aws.smithy.kotlin.runtime.client.ProtocolRequestInterceptorContext
import aws.smithy.kotlin.runtime.http.interceptors.HttpInterceptor
import aws.smithy.kotlin.runtime.http.request.HttpRequest
import kotlinx.coroutines.runBlocking

/** Keeps the access key that the last request was signed with. */
private class SignedWith : HttpInterceptor {
    @Volatile var key = ""

    override fun readBeforeTransmit(context: ProtocolRequestInterceptorContext<Any, HttpRequest>) {
        key = context.protocolRequest.headers["Authorization"]!!.substringAfter("Credential=").substringBefore('/')
    }
}

private fun quoted(text: String) =
    text.map { if (it < ' ' || it == '"' || it == '\\') "\\u%04x".format(it.code) else it }.joinToString("", "\"", "\"")

private fun chain(error: Throwable): String =
    generateSequence(error) { it.cause }.flatMap { sequenceOf(it) + it.suppressed }.joinToString("\ncaused by: ")

/** One long-lived client of the AWS SDK for Kotlin; see ../../README.md for what it reads and prints. */
fun main() = runBlocking {
    val signed = SignedWith()
    StsClient.fromEnvironment { interceptors = mutableListOf(signed) }.use { sts ->
        while (readlnOrNull() != null) {
            try {
                sts.getCallerIdentity()
                println("""{"ok":true,"key":${quoted(signed.key)}}""")
            } catch (error: Exception) {
                println("""{"ok":false,"error":${quoted(chain(error))}}""")
            }
        }
    }
}
