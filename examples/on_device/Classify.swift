// Labels for raw text on iOS, from the file of keraslm.export.mediapipe. Not run here: it needs a
// Mac.
//
// Podfile:  pod 'MediaPipeTasksText'
// Add classifier.tflite to the target's resources.
import Foundation
import MediaPipeTasksText

/// Call `classify` off the main thread.
final class Classifier {
  private let classifier: TextClassifier

  init() throws {
    guard let path = Bundle.main.path(forResource: "classifier", ofType: "tflite") else {
      throw CocoaError(.fileNoSuchFile)
    }
    let options = TextClassifierOptions()
    options.baseOptions.modelAssetPath = path
    options.maxResults = 3
    classifier = try TextClassifier(options: options)
  }

  /// Labels with their probabilities, the likeliest first.
  func classify(_ text: String) throws -> [(label: String, probability: Float)] {
    let result = try classifier.classify(text: text).classificationResult
    return result.classifications[0].categories.map { ($0.categoryName ?? "", $0.score) }
  }
}
