// Labels and vectors of raw text on iOS. Not run here: it needs a Mac.
//
// Podfile:  pod 'MediaPipeTasksText'
// classifier.tflite and embedder.tflite, from keraslm.export.mediapipe, are resources of the target.
import Foundation
import MediaPipeTasksText

/// Call it off the main thread.
final class TextModels {
  private let classifier: TextClassifier
  private let embedder: TextEmbedder

  init() throws {
    guard let first = Bundle.main.path(forResource: "classifier", ofType: "tflite"),
      let second = Bundle.main.path(forResource: "embedder", ofType: "tflite")
    else { throw CocoaError(.fileNoSuchFile) }
    classifier = try TextClassifier(modelPath: first)
    embedder = try TextEmbedder(modelPath: second)
  }

  /// Labels with their probabilities, the likeliest first.
  func classify(_ text: String) throws -> [(label: String, probability: Float)] {
    let result = try classifier.classify(text: text).classificationResult
    return result.classifications[0].categories.map { ($0.categoryName ?? "", $0.score) }
  }

  /// The vector of a sentence.
  func embed(_ text: String) throws -> [Float] {
    let result = try embedder.embed(text: text).embeddingResult
    return result.embeddings[0].floatEmbedding?.map(\.floatValue) ?? []
  }
}

/// For languages other than English and Chinese: what the tokenizer does and MediaPipe does not.
func folded(_ text: String) -> String {  // a word tokenizer drops all of \p{M}, not only \p{Mn}
  func replace(_ pattern: String, _ text: String, by new: String = "") -> String {
    text.replacingOccurrences(of: pattern, with: new, options: .regularExpression)
  }
  let clean = replace(#"[\p{C}\uFFFD]"#, replace(#"[\s\p{Z}]"#, text, by: " "))
  return replace(#"\p{Mn}"#, clean.decomposedStringWithCanonicalMapping).lowercased()
}
